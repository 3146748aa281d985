// What the commands of `skymm eval` share.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "launch/config/options.hpp"
#include "launch/evaluation/run.hpp"
#include "launch/evaluation/shared_answers.hpp"

namespace skymm {

constexpr Flag run_flag = {"run", "DIR", "run directory that skymm train made; while it trains, its newest checkpoint"};

// The run of --run, on the device of --device, on each of `ranks`. Throws Error where it has no eyes and needs them.
// Collective.
Run open_to_evaluate(const Arguments& arguments, bool needs_eyes, Communicator& ranks);

// Writes DIR/eval/NAME.json.
void write_figures(const std::string& run_dir, const std::string& name, const nlohmann::json& figures);

// Of what rank 0 warns, where there are any; as figures. Throws Error where none of so many questions could be asked.
nlohmann::json report_unasked(const std::vector<Unasked>& unasked, std::size_t questions);

// At most 24 of all, evenly spread: what a report shows.
nlohmann::json shown_samples(const nlohmann::json& all);

// Parses, helps or runs.
int evaluate(const char* name, const char* help, const std::vector<Flag>& flags, const std::vector<std::string>& words,
             int (*run)(const Arguments&));

// `skymm eval mmbench` and `skymm eval pope`; the arguments after the name.
int mmbench_command(const std::vector<std::string>& words);
int pope_command(const std::vector<std::string>& words);

}  // namespace skymm
