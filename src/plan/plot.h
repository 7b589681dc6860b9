// Charts of lines over context length, drawn as SVG or PNG: one row of panels, a fixed style.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace hadal {

struct PlotPoint {
  double x = 0, y = 0;  // above 0: both axes are logarithmic
};

enum class PlotLine {
  kMeasured,   // markers with their values, joined
  kComputed,   // solid
  kYardstick,  // dashed: what the others are compared with
};

struct PlotSeries {
  std::string label;
  std::vector<PlotPoint> points;
  int colour = 0;  // index into plot_colour()
  PlotLine line = PlotLine::kComputed;
};

struct PlotPanel {
  std::string title, unit;  // unit of y
  std::vector<PlotSeries> series;
};

struct Plot {
  std::string title, subtitle;
  std::string x_label;  // of every panel; ticks are powers of two, written 8K, 1M
  std::vector<PlotPanel> panels;
};

constexpr int kPlotColours = 5;
// "#rrggbb"; told apart by colour-blind readers too.
const char* plot_colour(int index);

// Page size in points; a PNG has twice as many pixels each way.
struct PlotSize {
  double width = 0, height = 0;
};
PlotSize plot_size(const Plot& plot);

// Refuses a name that ends in neither .svg nor .png and one whose folder does not take files: asked before work that
// takes long.
Status check_plot_path(const std::string& path);

// Writes the file anew. Errors: those of check_plot_path, a point that is not finite and above 0, drawing, writing.
Status write_plot(const Plot& plot, const std::string& path);

}  // namespace hadal
