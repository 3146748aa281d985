#include "launch/report/schedule_drawing.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include "core/error.hpp"
#include "launch/report/html.hpp"
#include "launch/report/svg.hpp"

namespace skymm {
namespace {

using Kind = Instruction::Kind;

// In pixels.
constexpr double margin = 20, label_width = 64, top = 92, row = 36, box = 30, digit = 7, least_width = 880;
constexpr double box_width = 22;              // of an average box, where there are many
constexpr std::size_t most_in_a_row = 1'000;  // boxes; the picture is some 20 000 pixels wide then

// Colours of the report (launch/report/report_style.hpp), pale enough for dark numbers; later chunks are paler.
constexpr const char* style = R"css(
text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: #22252a; }
.soft { fill: #666b73; } .name { font-size: 15px; font-weight: 600; }
.n { font-size: 12px; text-anchor: middle; }
.page { fill: #ffffff; } .idle { fill: #eeece7; } .axis { stroke: #666b73; opacity: .5; }
.forward, .backward, .weight { stroke: #ffffff; }
.forward { fill: #9dbce6; } .backward { fill: #9bd3b7; } .weight { fill: #e9bd93; }
.c1 { fill-opacity: .7; } .c2 { fill-opacity: .5; } .c3 { fill-opacity: .32; }
)css";
constexpr int shades = 4;

const char* class_of(Kind kind) {
  return kind == Kind::forward ? "forward" : kind == Kind::backward ? "backward" : "weight";
}

std::string counted(double count, const std::string& what, const char* plural) {
  return fmt::format("{} {}{}", number_text(count), what, count == 1 ? "" : plural);
}

bool has_box(const TimedInstruction& timed) { return computes(timed.instruction.kind) && timed.end > timed.begin; }

class Picture {
 public:
  Picture(const Schedule& schedule, const Timeline& timeline) : schedule_(schedule), timeline_(timeline) {
    std::size_t boxes = 0;
    for (const auto& list : timeline.stages) {
      boxes = std::max(boxes, static_cast<std::size_t>(std::ranges::count_if(list, has_box)));
    }
    check(boxes <= most_in_a_row, "{} boxes in a row are too many for a picture (at most {}); take fewer micro-batches",
          boxes, most_in_a_row);
    width_ = std::max(least_width, box_width * static_cast<double>(boxes));
    scale_ = timeline.length > 0 ? width_ / timeline.length : 0;
    bottom_ = top + row * static_cast<double>(timeline.stages.size());
  }

  std::string document() {
    const std::string summary = summary_of(schedule_, timeline_);
    const double width = left_ + width_ + margin, height = bottom_ + 48;
    add("<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" width=\"{0:.0f}\" height=\"{1:.0f}\" viewBox=\"0 0 "
        "{0:.0f} {1:.0f}\">\n<title>{2}</title>\n<style>{3}</style>\n<rect class=\"page\" width=\"100%\" "
        "height=\"100%\"/>\n",
        width, height, escape_html(summary), style);
    const std::size_t colon = summary.find(": ");
    add("<text class=\"name\" x=\"{}\" y=\"28\">{}</text>\n", margin, escape_html(summary.substr(0, colon)));
    add("<text class=\"caption soft\" x=\"{}\" y=\"49\">{}</text>\n", margin, escape_html(summary.substr(colon + 2)));
    add_legend();
    for (std::size_t s = 0; s < timeline_.stages.size(); ++s) add_stage(s);
    add_time();
    return std::move(text_) + "</svg>\n";
  }

 private:
  template <class... Args>
  void add(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(text_), format, std::forward<Args>(args)...);
  }

  void add_legend() {
    const bool split = splits_weight_gradients(schedule_);
    std::vector<std::pair<std::string, std::string>> entries = {
        {"forward", "forward"}, {"backward", split ? "backward of the input" : "backward"}};
    if (split) entries.emplace_back("weight", "weight gradients");
    entries.emplace_back("idle", "idle");
    double x = margin;
    for (const auto& [name, meaning] : entries) {
      add("<g class=\"legend\"><rect class=\"{}\" x=\"{}\" y=\"63\" width=\"16\" height=\"16\"/><text class=\"soft\" "
          "x=\"{}\" y=\"76\">{}</text></g>\n",
          name, x, x + 22, meaning);
      x += 50 + digit * static_cast<double>(meaning.size());
    }
    if (schedule_.shape.chunks > 1) {
      add("<text class=\"soft\" x=\"{}\" y=\"76\">(later chunks of a stage are paler)</text>\n", x);
    }
  }

  void add_stage(std::size_t stage) {
    const double y = top + row * static_cast<double>(stage);
    add("<text class=\"soft\" x=\"{}\" y=\"{}\">stage {}</text>\n", margin, y + 20, stage);
    add("<rect class=\"idle\" x=\"{}\" y=\"{}\" width=\"{:.1f}\" height=\"{}\"/>\n", left_, y, width_, box);
    for (const TimedInstruction& timed : timeline_.stages[stage]) {
      if (!has_box(timed)) continue;
      const Instruction& instruction = timed.instruction;
      const double x = left_ + scale_ * timed.begin, wide = scale_ * (timed.end - timed.begin);
      add("<rect class=\"{} c{}\" x=\"{:.1f}\" y=\"{}\" width=\"{:.1f}\" height=\"{}\"/>", class_of(instruction.kind),
          std::min(instruction.chunk, shades - 1), x, y, wide, box);
      const std::string number = std::to_string(instruction.micro_batch);
      if (wide > digit * static_cast<double>(number.size()) + 2) {
        add("<text class=\"n\" x=\"{:.1f}\" y=\"{}\">{}</text>", x + wide / 2, y + 19, number);
      }
      add("\n");
    }
  }

  void add_time() {
    add("<line class=\"axis\" x1=\"{0}\" x2=\"{1:.1f}\" y1=\"{2}\" y2=\"{2}\"/>\n", left_, left_ + width_, bottom_ + 2);
    const std::vector<double> ticks = linear_ticks(0, timeline_.length, 10);
    const std::vector<std::string> labels = tick_labels(ticks);
    for (std::size_t i = 0; i < ticks.size(); ++i) {
      add("<text class=\"n soft\" x=\"{:.1f}\" y=\"{}\">{}</text>\n", left_ + scale_ * ticks[i], bottom_ + 18,
          labels[i]);
    }
    add("<text class=\"soft\" x=\"{}\" y=\"{}\">time</text>\n", margin, bottom_ + 18);
  }

  const Schedule& schedule_;
  const Timeline& timeline_;
  const double left_ = margin + label_width;
  double width_ = 0, scale_ = 0, bottom_ = 0;  // scale: pixels a unit of time
  std::string text_;
};

}  // namespace

std::string summary_of(const Schedule& schedule, const Timeline& timeline) {
  const auto& [stages, micro_batches, chunks] = schedule.shape;
  int live = 0;
  for (int stage = 0; stage < stages; ++stage) live = std::max(live, live_activations(schedule, stage));
  const double whole = static_cast<double>(live) / chunks;  // a chunk's activations are a part of a stage's
  const double share = timeline.length > 0 ? timeline.bubble() / timeline.length : 0;
  std::string text = fmt::format("{}, {}, {}", name_of(schedule.kind), counted(stages, "stage", "s"),
                                 counted(micro_batches, "micro-batch", "es"));
  if (chunks > 1) text += fmt::format(", {} chunks a stage", chunks);
  return text + fmt::format(": {} of the time is bubble ({} of {}); a stage keeps the activations of at most {}",
                            percent_text(share), number_text(timeline.bubble()), number_text(timeline.length),
                            counted(whole, "micro-batch", "es"));
}

std::string draw_schedule(const Schedule& schedule, const Timeline& timeline) {
  return Picture(schedule, timeline).document();
}

}  // namespace skymm
