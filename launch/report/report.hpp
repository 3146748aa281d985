// report.html of a run: one file that needs no network and no scripts, on a phone or a big screen, light or dark.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "launch/report/svg.hpp"

namespace skymm {

// A share from 0 to 1 that was measured, and the least it should be, if that is known.
struct Figure {
  std::string group, name;
  double value = 0;
  double goal = std::numeric_limits<double>::quiet_NaN();
  std::string note;  // such as "of 500"
};

// MME's figures in one language; launch/evaluation/mme.hpp defines them.
struct ScoreRow {
  std::string task;
  std::int64_t questions = 0;
  double acc = 0, acc_plus = 0, score = 0, yes_ratio = 0;  // shares, but for the score (at most 200)
};

struct ScoreSum {
  std::string name;
  double score = 0, most = 0;
};

struct ScoreTable {
  std::string title;
  std::vector<ScoreRow> rows;
  std::vector<ScoreSum> sums;
  std::string note;
};

struct Exchange {
  std::string question, truth, answer;
  bool right = false;
};

struct SampleCard {
  std::string group;    // heading under which it stands, such as "MME, English"
  std::string caption;  // the task
  std::string image;    // encoded PNG, JPEG or WebP; "": no picture
  std::vector<Exchange> exchanges;
};

// What is empty is left out of the page. All text is UTF-8, and escaped by render_report.
struct ReportData {
  std::string title, subtitle;
  std::vector<std::pair<std::string, std::string>> facts;  // what ran, where and how long
  std::vector<std::string> notes;                          // what a reader should know, such as damaged records
  std::vector<Plot> plots, more_plots;                     // the latter are folded
  std::vector<Figure> figures;
  std::vector<ScoreTable> scores;
  std::vector<SampleCard> samples;
  std::vector<std::pair<std::string, std::string>> sample_notes;  // under a group's heading: how many there are in all
  std::string trainable, config;                                  // plain text
};

// Pictures of samples are shrunk, and left out (which the page says) where they are more than some megabytes together.
std::string render_report(const ReportData& report);

// From what a run directory holds: config.ini, starts.jsonl, metrics.jsonl, trainable.txt, eval/*.json. Where its
// weights come from other runs, their curves and figures come first. Throws Error where the directory holds neither a
// config.ini nor a metrics.jsonl; parts that cannot be read become notes.
ReportData collect_report(const std::string& run_dir);

// Writes run_dir/report.html.
void write_report(const std::string& run_dir);

// `skymm report --run DIR`: the arguments after `report`. Returns the exit code; throws UsageError.
int report_command(const std::vector<std::string>& arguments);

}  // namespace skymm
