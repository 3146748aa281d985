// What skymm eval left in a run directory, for its report.
#pragma once

#include <string>

#include "launch/report/report.hpp"

namespace skymm {

// Adds tables of eval/mme.json, and samples of it and of eval/{pope,mmbench}.json: of each benchmark and language some
// pictures, those with a wrong answer first. The same of answers by likelihood (eval/mme_by_likelihood.json, ...). What
// cannot be read becomes a note.
void add_answers(ReportData& report, const std::string& run_dir);

// Adds the figures of eval/{scenes,names,pope,mmbench,answers}.json (and of answers by likelihood) as groups named
// "<label>: ...", with the nano recipe's goals.
void add_gates(ReportData& report, const std::string& run_dir, const std::string& label);

// Of a curve in metrics.jsonl by its name, such as "lvm/patch_names_english"; NaN where there is none.
double goal_of(const std::string& name);

}  // namespace skymm
