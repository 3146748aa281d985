#include "launch/command.hpp"

#include <mpi.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <string_view>

#include "core/log.hpp"
#include "launch/chat_command.hpp"
#include "launch/config/exit_code.hpp"
#include "launch/config/options.hpp"
#include "launch/data_command.hpp"
#include "launch/eval_command.hpp"
#include "launch/plan_command.hpp"
#include "launch/report/report.hpp"
#include "launch/train_command.hpp"
#include "launch/weights_command.hpp"
#include "parallel/communicator.hpp"
#include "parallel/job.hpp"

namespace skymm {
namespace {

// One row a command; a command is listed once it works.
const std::vector<Command>& commands() {
  static const std::vector<Command> table = {
      {"data", "build, inspect and verify data sets", data_command},
      {"train", "train by a recipe; under mpirun or srun on several ranks", train_command},
      {"eval", "measure how well a run answers: MME and more", eval_command},
      {"chat", "answer about a picture, once or in a conversation", chat_command},
      {"plan", "what fits, how fast, on which grid; or draw a pipeline schedule", plan_command},
      {"report", "write report.html of a run: curves, figures, answers", report_command},
      {"weights", "look into weight files, convert them; LoRA for PEFT, or merged for transformers", weights_command},
  };
  return table;
}

constexpr const char* about =
    "skymm trains multimodal language models by the Skywork-MM recipe: a frozen vision model, a resampler,\n"
    "and a frozen language model with LoRA, on one machine or over MPI.";

std::string help_on_exit_codes() {
  std::string text = "\nExit codes\n";
  for (const ExitCode& row : exit_codes()) text += help_entry(std::to_string(row.code), row.meaning, 12);
  return text;
}

bool asks_for_help(const std::string& word) { return word == "--help" || word == "-h" || word == "help"; }

std::string version() {
  std::array<char, MPI_MAX_LIBRARY_VERSION_STRING> mpi{};
  int length = 0;
  MPI_Get_library_version(mpi.data(), &length);
  const std::string_view name(mpi.data());
  return fmt::format("skymm {}\nbuilt with g++ {}; {}\n", SKYMM_VERSION, __VERSION__, name.substr(0, name.find(',')));
}

}  // namespace

int dispatch(const std::string& path, const std::string& what, const std::vector<Command>& table,
             const std::vector<std::string>& arguments) {
  if (arguments.empty() || asks_for_help(arguments.front())) {
    std::string text = fmt::format("{}\n\n{} COMMAND ...\n", what, path);
    for (const Command& command : table) text += help_entry(command.name, command.help, 12);
    text += fmt::format("\n{} COMMAND --help says more.\n", path);
    std::fputs(text.c_str(), arguments.empty() ? stderr : stdout);
    return arguments.empty() ? exit_code::usage : exit_code::done;
  }
  const auto command =
      std::ranges::find(table, arguments.front(), [](const Command& c) { return std::string(c.name); });
  if (command == table.end()) {
    std::vector<std::string> names;
    for (const Command& c : table) names.emplace_back(c.name);
    const std::string guess = nearest(arguments.front(), names);
    fail_usage("'{} {}' is not a command{}; {} --help lists them", path, arguments.front(),
               guess.empty() ? "" : fmt::format(", did you mean '{}'", guess), path);
  }
  return command->run({arguments.begin() + 1, arguments.end()});
}

int run_command_line(const std::vector<std::string>& arguments) {
  std::signal(SIGXFSZ, SIG_IGN);  // a write past `ulimit -f` then fails with a reason, as on a full disk
  return run_ranks([&] {
    try {
      if (!arguments.empty() && arguments.front() == "--version") {
        std::fputs(version().c_str(), stdout);
        return 0;
      }
      const int code = dispatch("skymm", about, commands(), arguments);
      if (!arguments.empty() && asks_for_help(arguments.front())) std::fputs(help_on_exit_codes().c_str(), stdout);
      return code;
    } catch (const UsageError& error) {
      if (read_job().rank == 0) std::fprintf(stderr, "%s\n", error.message().c_str());
      end_ranks(exit_code::usage);
      return exit_code::usage;
    }
  });
}

}  // namespace skymm
