#include "plan/plot.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>

#include "plan/figure.h"
#include "plan/published.h"

namespace hadal {
namespace {

std::string temporary(const std::string& name) {
  return (std::filesystem::temp_directory_path() / fmt::format("hadal_{}_{}", ::getpid(), name)).string();
}

std::string contents(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  std::filesystem::remove(path);
  return text.str();
}

Plot sample() {
  Plot plot{"A title", "a machine", "context, tokens", {}};
  PlotPanel left{"Speed", "tokens/s", {}}, right{"Cache", "GB", {}};
  left.series.push_back({"measured", {{8192, 40}, {131072, 20}, {1048576, 10}}, 0, PlotLine::kMeasured});
  left.series.push_back({"counted", {{8192, 100}, {1048576, 50}}, 1, PlotLine::kComputed});
  right.series.push_back({"cache", {{8192, 0.1}, {1048576, 12.8}}, 3, PlotLine::kYardstick});
  plot.panels = {left, right};
  return plot;
}

// Polylines of one colour that are stroked: lists of x, y.
using Polyline = std::vector<std::pair<double, double>>;
std::vector<Polyline> polylines(const std::string& svg, const std::string& hex) {
  unsigned rgb = 0;
  std::sscanf(hex.c_str(), "#%06x", &rgb);
  std::vector<Polyline> found;
  static const std::regex path("<path [^>]*>"), stroke("stroke:rgb\\(([0-9.]+)%,([0-9.]+)%,([0-9.]+)%\\)"),
      data(" d=\"([^\"]*)\""), point("[ML] ([-0-9.]+) ([-0-9.]+)");
  for (std::sregex_iterator p(svg.begin(), svg.end(), path), end; p != end; ++p) {
    const std::string element = p->str();
    std::smatch s, d;
    if (!std::regex_search(element, s, stroke) || !std::regex_search(element, d, data)) continue;
    const auto near = [](const std::string& percent, unsigned byte) {
      return std::abs(std::stod(percent) / 100 - byte / 255.0) < 0.005;
    };
    if (!near(s[1], rgb >> 16) || !near(s[2], rgb >> 8 & 255) || !near(s[3], rgb & 255)) continue;
    const std::string numbers = d[1];
    Polyline line;
    for (std::sregex_iterator q(numbers.begin(), numbers.end(), point); q != end; ++q)
      line.push_back({std::stod((*q)[1]), std::stod((*q)[2])});
    found.push_back(line);
  }
  return found;
}

TEST(Plot, PointsOfTheSvgAreWhereTheNumbersSay) {
  const std::string file = temporary("sample.svg");
  const Status written = write_plot(sample(), file);
  ASSERT_TRUE(written) << written.error().what;
  const std::string svg = contents(file);
  ASSERT_TRUE(svg.starts_with("<?xml"));
  // The series itself, then its swatch in the legend.
  const auto measured = polylines(svg, plot_colour(0)), counted = polylines(svg, plot_colour(1));
  ASSERT_GE(measured.size(), 2u);
  ASSERT_GE(counted.size(), 2u);
  const Polyline& m = measured[0];
  const Polyline& c = counted[0];
  ASSERT_EQ(m.size(), 3u);
  ASSERT_EQ(c.size(), 2u);
  // 8K to 128K is four of the seven doublings to 1M.
  EXPECT_NEAR((m[1].first - m[0].first) / (m[2].first - m[0].first), 4.0 / 7, 1e-3);
  EXPECT_NEAR((m[1].second - m[0].second) / (m[2].second - m[0].second), 0.5, 1e-3);  // 40, 20, 10
  // The two lines share both axes: equal depths above each other, a halving as far down in one as in the other.
  EXPECT_NEAR(m[0].first, c[0].first, 0.01);
  EXPECT_NEAR(m[2].first, c[1].first, 0.01);
  EXPECT_NEAR(m[1].second - m[0].second, c[1].second - c[0].second, 0.01);
  EXPECT_LT(c[0].second, m[0].second);  // 100 is above 40
  EXPECT_GT(m[1].second, m[0].second);
  EXPECT_NEAR((m[0].second - c[0].second) / (m[1].second - m[0].second), std::log2(100.0 / 40), 0.01);
  // The second panel is to the right of the first.
  const auto cache = polylines(svg, plot_colour(3));
  ASSERT_FALSE(cache.empty());
  EXPECT_GT(cache[0][0].first, m[2].first);
  // Nothing is drawn outside the page.
  const PlotSize size = plot_size(sample());
  for (const auto& lines : {measured, counted, cache})
    for (const Polyline& line : lines)
      for (const auto& [x, y] : line) {
        EXPECT_GT(x, 0);
        EXPECT_LT(x, size.width);
        EXPECT_GT(y, 0);
        EXPECT_LT(y, size.height);
      }
}

std::uint32_t big_endian(const std::string& bytes, std::size_t at) {
  std::uint32_t v = 0;
  for (std::size_t i = 0; i < 4; ++i) v = v << 8 | static_cast<unsigned char>(bytes.at(at + i));
  return v;
}

TEST(Plot, APngHasThePageTwiceAndIsNotBlank) {
  const std::string file = temporary("sample.png"), blank_file = temporary("blank.png");
  ASSERT_TRUE(write_plot(sample(), file));
  const std::string png = contents(file);
  ASSERT_TRUE(png.starts_with("\x89PNG\r\n\x1a\n"));
  const PlotSize size = plot_size(sample());
  EXPECT_EQ(big_endian(png, 16), 2 * static_cast<std::uint32_t>(std::ceil(size.width)));
  EXPECT_EQ(big_endian(png, 20), 2 * static_cast<std::uint32_t>(std::ceil(size.height)));
  // A page of the same size without lines compresses to less: what was asked for is in the picture.
  Plot bare = sample();
  for (PlotPanel& p : bare.panels)
    for (PlotSeries& s : p.series) s.points.clear();
  ASSERT_TRUE(write_plot(bare, blank_file));
  EXPECT_GT(png.size(), contents(blank_file).size() + 2000);
}

TEST(Plot, RefusesWhatItCannotDraw) {
  const Status pdf = check_plot_path("figure.pdf");
  ASSERT_FALSE(pdf);
  EXPECT_EQ(pdf.error().code, ErrorCode::kUsage);
  EXPECT_NE(pdf.error().what.find("'figure.pdf'"), std::string::npos);
  EXPECT_FALSE(check_plot_path("/no/such/folder/figure.svg"));
  EXPECT_FALSE(check_plot_path("png"));
  Plot plot = sample();
  plot.panels[0].series[0].points[1].y = 0;
  const std::string file = temporary("zero.svg");
  EXPECT_FALSE(write_plot(plot, file));
  EXPECT_FALSE(std::filesystem::exists(file));
}

TEST(Figure, ComparesWithTheReportsYardsticks) {
  const Plot plot = accounting_figure({{"Flash", flash_config()}, {"Pro", pro_config()}});
  ASSERT_EQ(plot.panels.size(), 2u);
  const PlotPanel& cache = plot.panels[1];
  ASSERT_EQ(cache.series.size(), 4u);
  EXPECT_EQ(cache.series[0].points.front().x, 8192);
  EXPECT_EQ(cache.series[0].points.back().x, 1 << 20);
  EXPECT_NEAR(cache.series[0].points.back().y, 3.688, 0.002);
  EXPECT_NEAR(cache.series[0].points.back().y / cache.series[2].points.back().y, 0.073, 0.0005);
  const PlotPanel& work = plot.panels[0];
  ASSERT_EQ(work.series.size(), 3u);
  EXPECT_NEAR(work.series[0].points.back().y / work.series[2].points.back().y, 0.101, 0.0005);
  EXPECT_NEAR(work.series[1].points.back().y / work.series[2].points.back().y, 0.267, 0.0005);
}

TEST(Figure, MeasuredRowsBecomePoints) {
  std::vector<ModelBenchRow> rows(4);
  rows[0] = {"decode", 8192, 26, 45, "tokens/s", 2'580'000};
  rows[1] = {"prefill", 8192, 86, 185, "tokens/s", 2'580'000};
  rows[2] = {"decode", 131072, 25, 45, "tokens/s", 24'150'000};
  rows[3] = {"prefill", 131072, 80, 160, "tokens/s", 24'150'000};
  const Plot plot = depth_figure({"slice", flash_config()}, rows, "a machine");
  ASSERT_EQ(plot.panels.size(), 3u);
  ASSERT_EQ(plot.panels[0].series.size(), 2u);
  const PlotSeries& prefill = plot.panels[0].series[1];
  ASSERT_EQ(prefill.points.size(), 2u);
  EXPECT_EQ(prefill.points[1].x, 131072);
  EXPECT_EQ(prefill.points[1].y, 80);
  EXPECT_NEAR(plot.panels[2].series[0].points[1].y, 0.02415, 1e-9);
  EXPECT_EQ(plot.panels[2].series[1].points.back().x, 131072);  // counted as far as measured
}

}  // namespace
}  // namespace hadal
