#include "plan/figure.h"

#include <fmt/core.h>

#include <algorithm>
#include <initializer_list>

#include "plan/accounting.h"
#include "plan/published.h"
#include "weights/tensor_table.h"

namespace hadal {
namespace {

constexpr std::int64_t kFirstDepth = 8192;
enum Colours { kModel = 0, kSecondModel = 1, kV32 = 2, kGqa = 3 };

// Four lengths per doubling make the bends of the curves visible; the last one is always there.
template <class F>
std::vector<PlotPoint> curve(std::int64_t first, std::int64_t last, F&& y) {
  std::vector<PlotPoint> points;
  for (std::int64_t n = first; n < last; n += std::max<std::int64_t>(n / 4, 1))
    points.push_back({static_cast<double>(n), y(n)});
  points.push_back({static_cast<double>(last), y(last)});
  return points;
}

struct Range {
  std::int64_t first, last;
};

PlotPanel work_panel(const std::vector<AccountedModel>& models, const Range& range) {
  PlotPanel panel{"Work for one decoded token", "GFLOP, FP8 equivalents", {}};
  for (std::size_t i = 0; i < models.size(); ++i) {
    const TensorTable table(models[i].config);
    panel.series.push_back({models[i].name,
                            curve(range.first, std::min(range.last, models[i].config.max_position_embeddings),
                                  [&](std::int64_t n) {
                                    return weighted_flops(decode_flops(models[i].config, table, n), kEquivalentV4) /
                                           1e9;
                                  }),
                            i == 0 ? kModel : kSecondModel});
  }
  panel.series.push_back(
      {"V3.2",
       curve(range.first, range.last,
             [&](std::int64_t n) { return weighted_flops(decode_flops(V32Config{}, n), kEquivalentV32) / 1e9; }),
       kV32, PlotLine::kYardstick});
  return panel;
}

PlotPanel cache_panel(const std::vector<AccountedModel>& models, const Range& range) {
  PlotPanel panel{"Key-value cache of one sequence", "GB", {}};
  for (std::size_t i = 0; i < models.size(); ++i) {
    const ModelConfig& config = models[i].config;
    const CacheCounting packed = packed_counting(config);
    panel.series.push_back(
        {models[i].name,
         curve(range.first, std::min(range.last, config.max_position_embeddings),
               [&](std::int64_t n) {
                 return static_cast<double>(growing_bytes(config, packed, n) + window_bytes(config, packed)) / 1e9;
               }),
         i == 0 ? kModel : kSecondModel});
  }
  const auto straight = [&](std::int64_t per_token) {
    return curve(range.first, range.last, [&](std::int64_t n) { return static_cast<double>(per_token * n) / 1e9; });
  };
  panel.series.push_back(
      {"V3.2 in FP8, 61 layers", straight(v32_bytes_per_token({}, false)), kV32, PlotLine::kYardstick});
  const std::int64_t layers = models.empty() ? Gqa8Config{}.num_hidden_layers : models.front().config.num_hidden_layers;
  panel.series.push_back({fmt::format("GQA-8 in BF16, {} layers", layers),
                          straight(gqa_bytes_per_token({.num_hidden_layers = layers})), kGqa, PlotLine::kYardstick});
  return panel;
}

PlotSeries measured(const std::string& label, const std::vector<ModelBenchRow>& rows, const std::string& name,
                    int colour, double (*value)(const ModelBenchRow&)) {
  PlotSeries s{label, {}, colour, PlotLine::kMeasured};
  for (const ModelBenchRow& r : rows)
    if (r.name == name && r.depth > 0) s.points.push_back({static_cast<double>(r.depth), value(r)});
  return s;
}

}  // namespace

Plot accounting_figure(const std::vector<AccountedModel>& models) {
  Range range{kFirstDepth, kFirstDepth};
  for (const AccountedModel& m : models) range.last = std::max(range.last, m.config.max_position_embeddings);
  Plot plot{
      "Work and cache against context", "from configurations alone; nothing here was measured", "context, tokens", {}};
  plot.panels.push_back(work_panel(models, range));
  plot.panels.push_back(cache_panel(models, range));
  return plot;
}

Plot depth_figure(const AccountedModel& model, const std::vector<ModelBenchRow>& rows, const std::string& machine) {
  Range range{kFirstDepth, kFirstDepth};
  for (const ModelBenchRow& r : rows) {
    if (r.depth > 0) range.first = std::min(range.first, r.depth);
    range.last = std::max(range.last, r.depth);
  }
  PlotPanel rates{"Speed", "tokens/s", {}};
  const auto rate = [](const ModelBenchRow& r) { return r.rate; };
  for (PlotSeries s :
       {measured("decoding, one sequence", rows, "decode", 0, rate), measured("prefill", rows, "prefill", 1, rate)})
    if (!s.points.empty()) rates.series.push_back(std::move(s));
  PlotPanel cache = cache_panel({model}, range);
  PlotSeries& accounted = cache.series.front();
  accounted.label += ", counted";
  // Held rather than counted: whole pages, and the fixed part with the open compressor windows.
  PlotSeries held = measured(model.name + ", held in memory", rows, rows.empty() ? "" : rows.front().name, 1,
                             [](const ModelBenchRow& r) { return static_cast<double>(r.cache_bytes) / 1e9; });
  if (!held.points.empty()) cache.series.insert(cache.series.begin(), std::move(held));
  Plot plot{model.name + " against context", machine, "context, tokens", {}};
  plot.panels = {std::move(rates), work_panel({model}, range), std::move(cache)};
  return plot;
}

}  // namespace hadal
