#include "launch/command_options.hpp"

#include <algorithm>
#include <boost/program_options.hpp>

namespace skymm {

namespace po = boost::program_options;

CommandArguments::CommandArguments(std::string command, const std::vector<CommandOption>& options,
                                   const std::vector<std::string>& arguments)
    : command_(std::move(command)) {
  namespace style = po::command_line_style;
  help_ = std::ranges::any_of(arguments, [](const std::string& a) { return a == "--help" || a == "-h"; });
  if (help_) return;
  po::options_description description;
  std::vector<std::string> names;
  for (const CommandOption& option : options) {
    description.add_options()(option.name.c_str(), po::value<std::string>());
    names.push_back(option.name);
  }
  std::vector<po::option> given;
  try {
    given = po::command_line_parser(arguments)
                .options(description)
                .style(style::allow_long | style::long_allow_adjacent | style::long_allow_next)
                .allow_unregistered()
                .run()
                .options;
  } catch (const po::error& error) {
    fail_usage("{}; {} --help lists the options", error.what(), command_);
  }
  for (const po::option& option : given) {
    if (option.string_key.empty() || option.position_key >= 0) {
      fail_usage("'{}' is not expected here; options are --NAME VALUE; {} --help lists them",
                 option.original_tokens.empty() ? "" : option.original_tokens.front(), command_);
    }
    if (std::ranges::find(names, option.string_key) == names.end()) {
      const std::string guess = nearest(option.string_key, names);
      fail_usage("unknown option '--{}'{}; {} --help lists all", option.string_key,
                 guess.empty() ? "" : fmt::format(", did you mean '--{}'", guess), command_);
    }
    if (!values_.emplace(option.string_key, option.value.empty() ? "" : option.value.front()).second) {
      fail_usage("--{} is given twice", option.string_key);
    }
  }
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
