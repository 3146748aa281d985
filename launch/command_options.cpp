#include "launch/command_options.hpp"

namespace skymm {

CommandArguments::CommandArguments(std::string command, const std::vector<CommandOption>& options,
                                   const std::vector<std::string>& arguments)
    : command_(std::move(command)) {
  std::vector<Flag> flags;
  for (const CommandOption& option : options) {
    flags.push_back({option.name.c_str(), option.value.c_str(), option.help.c_str()});
  }
  const Arguments given = parse_arguments(command_, flags, arguments, 0);
  help_ = given.help;
  values_.insert(given.named.begin(), given.named.end());
}

std::string CommandArguments::get(const std::string& name, const std::string& fallback) const {
  const auto found = values_.find(name);
  return found == values_.end() ? fallback : found->second;
}

std::string CommandArguments::required(const std::string& name) const {
  const std::string value = get(name);
  if (value.empty()) fail_usage("{} needs --{}; {} --help shows how", command_, name, command_);
  return value;
}

std::int64_t CommandArguments::integer(const std::string& name, std::int64_t fallback, std::int64_t least) const {
  if (!has(name)) return fallback;
  std::int64_t value = 0;
  try {
    value = parse_integer(get(name));
  } catch (const Error& error) {
    fail_usage("--{}: {}", name, error.message());
  }
  if (value < least) fail_usage("--{}: {} is out of range: at least {}", name, value, least);
  return value;
}

std::string options_help(const std::vector<CommandOption>& options) {
  constexpr std::size_t column = 22, columns = 100;
  std::string text;
  for (const CommandOption& option : options) {
    std::string line = fmt::format("  --{} {}", option.name, option.value);
    for (const std::string& part : wrapped(option.help, columns - column)) {
      text += fmt::format("{:<{}}{}\n", line, column, part);
      line.clear();
    }
  }
  return text;
}

}  // namespace skymm
