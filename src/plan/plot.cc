#include "plan/plot.h"

#include <cairo-svg.h>
#include <cairo.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>

namespace hadal {
namespace {

// Points. A panel's frame is 300 wide, so that eight labels from 8K to 1M stand beside each other.
constexpr double kFrameWidth = 300, kFrameHeight = 230;
constexpr double kLeft = 56, kRight = 24, kTop = 92, kXLabels = 46, kLegendRow = 17, kBottom = 12;
constexpr double kText = 11, kSmallText = 9.5, kHeading = 12.5, kTitle = 16;
constexpr double kInk = 0.13, kGridInk = 0.88;

struct Colour {
  double r, g, b;
};
Colour colour(int index) {
  unsigned rgb = 0;
  std::sscanf(plot_colour(index), "#%06x", &rgb);
  return {(rgb >> 16) / 255.0, (rgb >> 8 & 255) / 255.0, (rgb & 255) / 255.0};
}

// A logarithmic axis: page = at + length * (log value - log low) / (log high - log low).
struct Axis {
  double low = 1, high = 2, at = 0, length = 1;
  double place(double value) const { return at + length * std::log(value / low) / std::log(high / low); }
};

std::size_t legend_rows(const Plot& plot) {
  std::size_t rows = 0;
  for (const PlotPanel& p : plot.panels) rows = std::max(rows, p.series.size());
  return rows;
}

template <class F>
void each_point(const PlotPanel& panel, F&& fn) {
  for (const PlotSeries& s : panel.series)
    for (const PlotPoint& p : s.points) fn(p);
}

std::string grouped(long long n) {
  std::string text = std::to_string(n);
  for (std::size_t at = text.size(); at > 3; at -= 3) text.insert(at - 3, ",");
  return text;
}

// Three digits, and no more precision than was measured.
std::string number_text(double v) {
  if (v >= 99.95) return grouped(std::llround(v));
  return fmt::format("{:.{}f}", v, v >= 9.995 ? 1 : v >= 0.0995 ? 2 : 4);
}

std::string tick_text(double v) { return v >= 1 ? grouped(std::llround(v)) : fmt::format("{:g}", v); }

std::string tokens_text(double n) {
  const long long v = std::llround(n);
  if (v >= 1 << 20) return fmt::format("{}M", v >> 20);
  return v >= 1024 ? fmt::format("{}K", v >> 10) : fmt::format("{}", v);
}

// Whole powers of two around all points, so that the panels of a page share one axis.
Axis x_axis(const Plot& plot) {
  double low = 1e300, high = 0;
  for (const PlotPanel& p : plot.panels)
    each_point(p, [&](const PlotPoint& q) { low = std::min(low, q.x), high = std::max(high, q.x); });
  if (high == 0) return {};
  // A measured depth of 1,049,000 still belongs to the 1M line.
  Axis a{std::exp2(std::floor(std::log2(low) + 0.02)), std::exp2(std::ceil(std::log2(high) - 0.02)), 0, kFrameWidth};
  if (a.high <= a.low) a.high = 2 * a.low;
  return a;
}

// From 1, 2 or 5 times a power of ten to another.
constexpr double kSteps[] = {1, 2, 5};
double step_below(double v) {
  const double decade = std::pow(10, std::floor(std::log10(v) + 1e-9));
  double best = decade;
  for (double s : kSteps)
    if (s * decade <= v * (1 + 1e-9)) best = s * decade;
  return best;
}
double step_above(double v) {
  const double below = step_below(v);
  if (below >= v * (1 - 1e-9)) return below;
  const double decade = std::pow(10, std::floor(std::log10(below) + 1e-9));
  for (double s : kSteps)
    if (s * decade > below * (1 + 1e-9)) return s * decade;
  return 10 * decade;
}

Axis y_axis(const PlotPanel& panel) {
  double low = 1e300, high = 0;
  each_point(panel, [&](const PlotPoint& q) { low = std::min(low, q.y), high = std::max(high, q.y); });
  if (high == 0) return {1, 10, 0, -kFrameHeight};
  // Room above the highest marker for its value.
  return {step_below(low / 1.15), step_above(high * 1.3), 0, -kFrameHeight};
}

// Sets the pen of a series.
void use_pen(cairo_t* c, PlotLine line) {
  static constexpr double kDashes[] = {6, 3};
  cairo_set_line_width(c, line == PlotLine::kMeasured ? 2 : 1.6);
  cairo_set_dash(c, kDashes, line == PlotLine::kYardstick ? 2 : 0, 0);
}

class Canvas {
 public:
  explicit Canvas(cairo_surface_t* surface) : c_(cairo_create(surface)) {}
  ~Canvas() { cairo_destroy(c_); }
  Canvas(const Canvas&) = delete;
  Canvas& operator=(const Canvas&) = delete;

  cairo_t* get() { return c_; }
  void grey(double v) { cairo_set_source_rgb(c_, v, v, v); }
  void ink(Colour k) { cairo_set_source_rgb(c_, k.r, k.g, k.b); }
  void line(double x0, double y0, double x1, double y1) {
    cairo_move_to(c_, x0, y0);
    cairo_line_to(c_, x1, y1);
    cairo_stroke(c_);
  }
  // `anchor` 0 starts the text at x, 0.5 centres it, 1 ends it there.
  // A halo keeps values readable where they cross a line.
  enum class Halo { kNo, kYes };
  void text(const std::string& words, double x, double y, double size, double anchor = 0, bool bold = false,
            Halo halo = Halo::kNo) {
    cairo_select_font_face(c_, "sans-serif", CAIRO_FONT_SLANT_NORMAL,
                           bold ? CAIRO_FONT_WEIGHT_BOLD : CAIRO_FONT_WEIGHT_NORMAL);
    cairo_set_font_size(c_, size);
    cairo_text_extents_t box;
    cairo_text_extents(c_, words.c_str(), &box);
    if (halo == Halo::kYes) {
      cairo_move_to(c_, x - anchor * box.x_advance, y);
      cairo_text_path(c_, words.c_str());
      cairo_save(c_);
      cairo_set_source_rgba(c_, 1, 1, 1, 0.85);
      cairo_set_line_width(c_, 3);
      cairo_stroke(c_);
      cairo_restore(c_);
    }
    cairo_move_to(c_, x - anchor * box.x_advance, y);
    cairo_show_text(c_, words.c_str());
    cairo_new_path(c_);  // the text left a current point
  }

 private:
  cairo_t* c_;
};

void draw_grid(Canvas& c, const PlotPanel& panel, const std::string& x_label, const Axis& x, const Axis& y) {
  cairo_set_line_width(c.get(), 0.7);
  for (double v = x.low; v <= x.high * 1.001; v *= 2) {
    c.grey(kGridInk);
    c.line(x.place(v), y.at, x.place(v), y.at - kFrameHeight);
    c.grey(kInk);
    c.text(tokens_text(v), x.place(v), y.at + 14, kSmallText, 0.5);
  }
  // Over many decades only powers of ten are named.
  const bool sparse = std::log10(y.high / y.low) > 2.2;
  for (double v = y.low; v <= y.high * 1.001; v = step_above(v * 1.01)) {
    const double decades = std::log10(v);
    const bool named = !sparse || std::abs(decades - std::round(decades)) < 1e-6;
    c.grey(named ? kGridInk : kGridInk + 0.07);
    c.line(x.at, y.place(v), x.at + x.length, y.place(v));
    c.grey(kInk);
    if (named) c.text(tick_text(v), x.at - 6, y.place(v) + 3.5, kSmallText, 1);
  }
  cairo_set_line_width(c.get(), 1);
  c.grey(kInk);
  cairo_rectangle(c.get(), x.at, y.at - kFrameHeight, kFrameWidth, kFrameHeight);
  cairo_stroke(c.get());
  c.text(panel.title, x.at, y.at - kFrameHeight - 24, kHeading, 0, true);
  c.text(panel.unit, x.at, y.at - kFrameHeight - 9, kText);
  c.text(x_label, x.at + kFrameWidth / 2, y.at + 31, kText, 0.5);
}

void draw_series(Canvas& c, const PlotSeries& s, const Axis& x, const Axis& y) {
  cairo_t* cr = c.get();
  c.ink(colour(s.colour));
  cairo_set_line_join(cr, CAIRO_LINE_JOIN_ROUND);
  use_pen(cr, s.line);
  for (const PlotPoint& p : s.points) cairo_line_to(cr, x.place(p.x), y.place(p.y));
  cairo_stroke(cr);
  cairo_set_dash(cr, nullptr, 0, 0);
  if (s.line != PlotLine::kMeasured) return;
  for (const PlotPoint& p : s.points) {
    cairo_new_sub_path(cr);
    cairo_arc(cr, x.place(p.x), y.place(p.y), 3.2, 0, 2 * M_PI);
    cairo_fill(cr);
    // The outermost values stay inside the frame.
    const double at = (x.place(p.x) - x.at) / kFrameWidth;
    const double anchor = at < 0.1 ? 0 : at > 0.9 ? 1 : 0.5, aside = at < 0.1 ? 4 : at > 0.9 ? -4 : 0;
    c.text(number_text(p.y), x.place(p.x) + aside, y.place(p.y) - 7, kSmallText, anchor, false, Canvas::Halo::kYes);
  }
}

void draw_legend(Canvas& c, const PlotPanel& panel, double left, double top) {
  double y = top;
  for (const PlotSeries& s : panel.series) {
    c.ink(colour(s.colour));
    use_pen(c.get(), s.line);
    c.line(left, y - 3.5, left + 24, y - 3.5);
    cairo_set_dash(c.get(), nullptr, 0, 0);
    if (s.line == PlotLine::kMeasured) {
      cairo_arc(c.get(), left + 12, y - 3.5, 3.2, 0, 2 * M_PI);
      cairo_fill(c.get());
    }
    c.grey(kInk);
    c.text(s.label, left + 31, y, kText);
    y += kLegendRow;
  }
}

void draw(Canvas& c, const Plot& plot) {
  c.grey(1);
  cairo_paint(c.get());
  c.grey(kInk);
  c.text(plot.title, kLeft, 26, kTitle, 0, true);
  c.grey(0.35);
  c.text(plot.subtitle, kLeft, 44, kText);
  Axis x = x_axis(plot);
  double left = kLeft;
  for (const PlotPanel& panel : plot.panels) {
    x.at = left;
    Axis y = y_axis(panel);
    y.at = kTop + kFrameHeight;
    draw_grid(c, panel, plot.x_label, x, y);
    for (const PlotSeries& s : panel.series) draw_series(c, s, x, y);
    draw_legend(c, panel, left, y.at + kXLabels + 10);
    left += kFrameWidth + kRight + kLeft;
  }
}

cairo_status_t append(void* to, const unsigned char* data, unsigned int n) {
  static_cast<std::string*>(to)->append(reinterpret_cast<const char*>(data), n);
  return CAIRO_STATUS_SUCCESS;
}

Result<std::string> render(const Plot& plot, bool svg) {
  const PlotSize size = plot_size(plot);
  std::string bytes;
  constexpr int kPixels = 2;  // a point; sharp on dense screens and in print
  cairo_surface_t* made =
      svg ? cairo_svg_surface_create_for_stream(append, &bytes, size.width, size.height)
          : cairo_image_surface_create(CAIRO_FORMAT_RGB24, kPixels * static_cast<int>(std::ceil(size.width)),
                                       kPixels * static_cast<int>(std::ceil(size.height)));
  const std::unique_ptr<cairo_surface_t, decltype(&cairo_surface_destroy)> surface(made, cairo_surface_destroy);
  if (svg)
    cairo_svg_surface_set_document_unit(made, CAIRO_SVG_UNIT_PX);
  else
    cairo_surface_set_device_scale(made, kPixels, kPixels);
  cairo_status_t status = CAIRO_STATUS_SUCCESS;
  {
    Canvas canvas(made);
    draw(canvas, plot);
    status = cairo_status(canvas.get());
  }
  if (status == CAIRO_STATUS_SUCCESS && !svg) status = cairo_surface_write_to_png_stream(made, append, &bytes);
  if (svg) cairo_surface_finish(made);
  if (status == CAIRO_STATUS_SUCCESS) status = cairo_surface_status(made);
  if (status != CAIRO_STATUS_SUCCESS)
    return fail(ErrorCode::kInternal, "the plot could not be drawn: {}", cairo_status_to_string(status));
  return bytes;
}

}  // namespace

const char* plot_colour(int index) {
  // Okabe and Ito's palette without its yellows.
  static constexpr const char* kColours[kPlotColours] = {"#0072b2", "#d55e00", "#777777", "#009e73", "#cc79a7"};
  return kColours[std::clamp(index, 0, kPlotColours - 1)];
}

PlotSize plot_size(const Plot& plot) {
  const auto panels = static_cast<double>(plot.panels.size());
  return {panels * (kLeft + kFrameWidth + kRight),
          kTop + kFrameHeight + kXLabels + kLegendRow * static_cast<double>(legend_rows(plot)) + kBottom};
}

Status check_plot_path(const std::string& path) {
  if (!path.ends_with(".svg") && !path.ends_with(".png"))
    return fail(ErrorCode::kUsage, "'{}' ends in neither .svg nor .png, the two kinds of plot", path);
  std::error_code error;
  if (std::filesystem::is_directory(path, error))
    return fail(ErrorCode::kUsage, "'{}' is a directory; name the plot's file", path);
  std::string parent = std::filesystem::path(path).parent_path().string();
  if (parent.empty()) parent = ".";
  const bool there = std::filesystem::exists(path, error);
  if (::access((there ? path : parent).c_str(), W_OK) != 0)
    return fail(ErrorCode::kIo, "'{}' cannot be written ({}); name a file in a directory that takes files", path,
                std::strerror(errno));
  return {};
}

Status write_plot(const Plot& plot, const std::string& path) {
  HADAL_CHECK_OK(check_plot_path(path));
  for (const PlotPanel& panel : plot.panels)
    for (const PlotSeries& s : panel.series)
      for (const PlotPoint& p : s.points)
        if (!(p.x > 0 && p.y > 0 && std::isfinite(p.x) && std::isfinite(p.y)))
          return fail(ErrorCode::kInternal, "'{}' has a point at ({}, {}), which a logarithmic axis cannot show",
                      s.label, p.x, p.y);
  const std::string bytes = HADAL_TRY(render(plot, path.ends_with(".svg")));
  std::FILE* out = std::fopen(path.c_str(), "wb");
  if (!out) return fail(ErrorCode::kIo, "'{}' cannot be written ({})", path, std::strerror(errno));
  const bool written = std::fwrite(bytes.data(), 1, bytes.size(), out) == bytes.size();
  const bool closed = std::fclose(out) == 0;
  if (!written || !closed)
    return fail(ErrorCode::kIo, "'{}' could not be written whole ({})", path, std::strerror(errno));
  return {};
}

}  // namespace hadal
