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

constexpr Flag by_flag = {
    "by", "HOW",
    "generation (default), or likelihood: of the answers that the question allows, the one that the model holds most "
    "likely; its figures go to files of their own, RUN/eval/COMMAND_by_likelihood.json, and do not compare"};

// Writes DIR/eval/NAME.json.
void write_figures(const std::string& run_dir, const std::string& name, const nlohmann::json& figures);

// Of what rank 0 warns, where there are any; as figures. Throws Error where none of so many questions could be asked.
nlohmann::json report_unasked(const std::vector<Unasked>& unasked, std::size_t questions);

// What tells apart the figures, and the result files, of answers by generation ("mme") and by likelihood
// ("mme_by_likelihood"): neither takes the other's place.
std::string figures_name(const std::string& benchmark, AnswerBy by);
// Behind the name of a table: ", by likelihood".
std::string label_of(AnswerBy by);

// Figures by language, {"en": {...}, "zh": {...}}, to PATH, with the time in each. A language that is not among them
// keeps the figures that the file has of it.
void write_languages(const std::string& path, nlohmann::json languages);
// scores.json in the folder of result files, or beside the one file: of --results alone. Says so where it cannot be
// written, since people also score what is not theirs.
void write_scores(const std::string& results, const nlohmann::json& languages);

// The mode of a command that asks a run, or scores result files that exist: true for the latter. Throws UsageError
// where --run and --results are both absent, or --results stands beside one of the flags `of_run`, which it has no use
// for.
bool scores_results(const Arguments& arguments, const std::vector<std::string>& of_run);

// Parses, helps or runs.
int evaluate(const char* name, const char* help, const std::vector<Flag>& flags, const std::vector<std::string>& words,
             int (*run)(const Arguments&));

// `skymm eval mmbench` and `skymm eval pope`; the arguments after the name.
int mmbench_command(const std::vector<std::string>& words);
int pope_command(const std::vector<std::string>& words);

}  // namespace skymm
