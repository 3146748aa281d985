#include "launch/report/report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "io/file.hpp"
#include "launch/report/html.hpp"
#include "launch/report/report_style.hpp"

namespace skymm {
namespace {

constexpr double guessing_score = 75;  // of a task: half of the answers right, a quarter of the pictures both

bool has_chinese(const std::string& text) {
  // The lead bytes of U+4000 to U+9FFF, which hold the common ideographs.
  return std::ranges::any_of(text, [](char c) { return c >= '\xe4' && c <= '\xe9'; });
}

// Chinese text says so, for the right shapes of characters.
std::string text_of(const std::string& text) {
  return has_chinese(text) ? fmt::format("<span lang=\"zh-Hans\">{}</span>", escape_html(text)) : escape_html(text);
}

std::string spaced(std::string name) {
  std::ranges::replace(name, '_', ' ');
  return name;
}

// Lists items under the groups they name, in order of first appearance.
template <class Item>
std::vector<std::pair<std::string, std::vector<const Item*>>> by_group(const std::vector<Item>& items) {
  std::vector<std::pair<std::string, std::vector<const Item*>>> groups;
  for (const Item& item : items) {
    auto group = std::ranges::find_if(groups, [&](const auto& other) { return other.first == item.group; });
    if (group == groups.end()) group = groups.insert(group, {item.group, {}});
    group->second.push_back(&item);
  }
  return groups;
}

std::string head_of(const ReportData& report) {
  std::string page = fmt::format("<header>\n<h1>{}</h1>\n", text_of(report.title));
  if (!report.subtitle.empty()) page += fmt::format("<p class=\"subtitle\">{}</p>\n", text_of(report.subtitle));
  if (!report.facts.empty()) {
    page += "<dl class=\"facts\">\n";
    for (const auto& [name, value] : report.facts) {
      page += fmt::format("<div{}><dt>{}</dt><dd>{}</dd></div>\n", value.size() > 28 ? " class=\"long\"" : "",
                          escape_html(name), text_of(value));
    }
    page += "</dl>\n";
  }
  if (!report.notes.empty()) {
    page += "<ul class=\"notes\">\n";
    for (const std::string& note : report.notes) page += fmt::format("<li>{}</li>\n", text_of(note));
    page += "</ul>\n";
  }
  return page + "</header>\n";
}

std::string cards_of(const std::vector<Plot>& plots, const char* size) {
  std::string cards;
  for (const Plot& plot : plots) {
    const std::string svg = svg_of(plot);
    if (svg.empty()) continue;
    cards += fmt::format("<figure class=\"card {}\">\n<h3>{}</h3>\n", size, text_of(plot.title));
    if (plot.curves.size() > 1) {
      cards += "<ul class=\"legend\">";
      for (std::size_t i = 0; i < plot.curves.size(); ++i) {
        cards += fmt::format("<li><i class=\"i{}\"></i>{}</li>", i % 6, escape_html(plot.curves[i].name));
      }
      cards += "</ul>\n";
    }
    cards += fmt::format("<div class=\"canvas\">{}</div>\n</figure>\n", svg);
  }
  return cards.empty() ? "" : fmt::format("<div class=\"grid2\">\n{}</div>\n", cards);
}

std::string plots_of(const ReportData& report) {
  const std::string main = cards_of(report.plots, "large"), more = cards_of(report.more_plots, "small");
  if (main.empty() && more.empty()) return "";
  std::string page = "<section>\n<h2>Learning</h2>\n" + main;
  page += "<p class=\"aside\">Faint: every step; bold: smoothed. Pointing at a curve shows its values.</p>\n";
  if (!more.empty()) page += fmt::format("<details><summary>More curves</summary>\n{}</details>\n", more);
  return page + "</section>\n";
}

std::string figure_of(const Figure& figure) {
  const bool has_goal = std::isfinite(figure.goal);
  const bool met = has_goal && figure.value >= figure.goal;
  const char* state = !has_goal ? "" : met ? "met" : "missed";
  const double share = std::clamp(figure.value, 0.0, 1.0);
  const std::string note = figure.note.empty() ? "" : fmt::format(" <small>{}</small>", text_of(figure.note));
  const std::string goal = has_goal ? fmt::format(" <small>goal {:.0f} % <span class=\"{}\">{}</span></small>",
                                                  100 * figure.goal, state, met ? "✓" : "✗")
                                    : "";
  const std::string mark = has_goal ? fmt::format("<b style=\"left:{:.1f}%\"></b>", 100 * figure.goal) : "";
  return fmt::format(
      "<div class=\"figure\"><div>{}{}</div><div class=\"value\">{}{}</div><div class=\"bar {}\"><i class=\"fill\" "
      "style=\"width:{:.1f}%\"></i>{}</div></div>\n",
      text_of(figure.name), note, percent_text(figure.value), goal, state, 100 * share, mark);
}

std::string figures_of(const ReportData& report) {
  if (report.figures.empty()) return "";
  std::string page = "<section>\n<h2>Figures</h2>\n<div class=\"grid2\">\n";
  for (const auto& [name, figures] : by_group(report.figures)) {
    page += fmt::format("<div class=\"card\">\n<h3>{}</h3>\n", text_of(name));
    for (const Figure* figure : figures) page += figure_of(*figure);
    page += "</div>\n";
  }
  return page + "</div>\n</section>\n";
}

std::string score_bar(double score, double most, bool guess) {
  return fmt::format("<span class=\"bar\"><i style=\"width:{:.1f}%\"></i>{}</span>",
                     100 * std::clamp(most > 0 ? score / most : 0, 0.0, 1.0),
                     guess ? fmt::format("<b style=\"left:{:.1f}%\"></b>", 100 * guessing_score / most) : "");
}

std::string table_of(const ScoreTable& table) {
  std::string page = fmt::format(
      "<div class=\"card\">\n<h3>{}</h3>\n<div "
      "class=\"scroll\"><table>\n<thead><tr><th>task</th><th>acc</th><th>acc+</th>"
      "<th>says yes</th><th>score</th><th class=\"wide\"></th></tr></thead>\n<tbody>\n",
      text_of(table.title));
  for (const ScoreRow& row : table.rows) {
    page += fmt::format(
        "<tr title=\"{} questions\"><td>{}</td><td>{:.1f}</td><td>{:.1f}</td><td>{:.1f}</td><td>{:.1f}</td>"
        "<td class=\"wide\">{}</td></tr>\n",
        row.questions, text_of(spaced(row.task)), 100 * row.acc, 100 * row.acc_plus, 100 * row.yes_ratio, row.score,
        score_bar(row.score, 200, true));
  }
  page += "</tbody>\n";
  if (!table.sums.empty()) {
    page += "<tfoot>\n";
    for (const ScoreSum& sum : table.sums) {
      page += fmt::format(
          "<tr><td colspan=\"3\">{}</td><td colspan=\"2\">{:.1f} of {:.0f}</td><td class=\"wide\">{}</td></tr>\n",
          text_of(sum.name), sum.score, sum.most, score_bar(sum.score, sum.most, false));
    }
    page += "</tfoot>\n";
  }
  page += "</table></div>\n";
  if (!table.note.empty()) page += fmt::format("<p class=\"aside\">{}</p>\n", text_of(table.note));
  return page + "</div>\n";
}

std::string scores_of(const ReportData& report) {
  if (report.scores.empty()) return "";
  std::string page = "<section>\n<h2>MME</h2>\n<div class=\"grid2\">\n";
  for (const ScoreTable& table : report.scores) page += table_of(table);
  return page +
         "</div>\n<p class=\"aside\">acc: answers that are right, in percent; acc+: pictures with both answers right; "
         "score: acc + acc+, at most 200; the upright mark is what guessing scores, 75.</p>\n</section>\n";
}

// Hands out pictures for as long as the page stays small.
class SamplePictures {
 public:
  std::string source(const std::string& image) {
    if (image.empty()) return "";
    constexpr std::size_t most_bytes = 20'000, most_altogether = 4'000'000;
    constexpr int longest = 320;  // as wide as cards get
    const std::string source = bytes_ < most_altogether ? image_source(image, most_bytes, longest) : "";
    left_out_ += bytes_ >= most_altogether;
    bytes_ += source.size();
    return source;
  }
  int left_out() const { return left_out_; }

 private:
  std::size_t bytes_ = 0;
  int left_out_ = 0;
};

std::string card_of(const SampleCard& card, SamplePictures& pictures) {
  const bool flawless = std::ranges::all_of(card.exchanges, &Exchange::right);
  std::string page = fmt::format("<article class=\"card sample{}\">\n", flawless ? " flawless" : "");
  const std::string source = pictures.source(card.image);
  if (!source.empty()) page += fmt::format("<img alt=\"{}\" src=\"{}\"/>\n", escape_html(card.caption), source);
  if (!card.caption.empty()) page += fmt::format("<h4>{}</h4>\n", text_of(spaced(card.caption)));
  page += "<ul>\n";
  for (const Exchange& exchange : card.exchanges) {
    const char* state = exchange.right ? "right" : "wrong";
    page += fmt::format("<li class=\"{}\">{}<br/><span class=\"reply\" title=\"{}\">{} {}</span>", state,
                        text_of(exchange.question), state, exchange.right ? "✓" : "✗",
                        exchange.answer.empty() ? "(nothing)" : text_of(exchange.answer));
    page += fmt::format("<span class=\"truth\">truth: {}</span></li>\n", text_of(exchange.truth));
  }
  return page + "</ul>\n</article>\n";
}

std::string samples_of(const ReportData& report) {
  if (report.samples.empty()) return "";
  std::size_t asked = 0, wrong = 0;
  for (const SampleCard& card : report.samples) {
    asked += card.exchanges.size();
    wrong += static_cast<std::size_t>(std::ranges::count(card.exchanges, false, &Exchange::right));
  }
  std::string page = fmt::format(
      "<section>\n<h2>Samples</h2>\n<input type=\"checkbox\" id=\"only-wrong\"/><label class=\"filter\" "
      "for=\"only-wrong\">only the wrong answers ({} of {} shown here)</label>\n",
      wrong, asked);
  SamplePictures pictures;
  for (const auto& [name, cards] : by_group(report.samples)) {
    if (!name.empty()) page += fmt::format("<h3 class=\"group\">{}</h3>\n", text_of(name));
    const auto note = std::ranges::find(report.sample_notes, name, &std::pair<std::string, std::string>::first);
    if (note != report.sample_notes.end()) page += fmt::format("<p class=\"aside\">{}</p>\n", text_of(note->second));
    page += "<div class=\"cards\">\n";
    for (const SampleCard* card : cards) page += card_of(*card, pictures);
    page += "</div>\n";
  }
  if (pictures.left_out() > 0) {
    page += fmt::format("<p class=\"aside\">{} pictures are left out, so that this page stays small.</p>\n",
                        pictures.left_out());
  }
  return page + "</section>\n";
}

std::string texts_of(const ReportData& report) {
  std::string page;
  if (!report.trainable.empty()) {
    page += fmt::format("<section>\n<h2>What trains</h2>\n<pre>{}</pre>\n</section>\n", escape_html(report.trainable));
  }
  if (!report.config.empty()) {
    page += fmt::format(
        "<section>\n<h2>Config</h2>\n<details><summary>Every option of this run, as a recipe that does it again"
        "</summary>\n<pre>{}</pre>\n</details>\n</section>\n",
        escape_html(report.config));
  }
  return page;
}

}  // namespace

std::string render_report(const ReportData& report) {
  return fmt::format(
             "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
             "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>{}</title>\n"
             "<style>{}</style>\n</head>\n<body>\n<main>\n",
             escape_html(report.title), report_style) +
         head_of(report) + plots_of(report) + figures_of(report) + scores_of(report) + samples_of(report) +
         texts_of(report) + "</main>\n</body>\n</html>\n";
}

void write_report(const std::string& run_dir) {
  write_file(run_dir + "/report.html", render_report(collect_report(run_dir)));
}

}  // namespace skymm
