// The command line of a command: a table of options that both its parser and its --help read.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "launch/options.hpp"

namespace skymm {

struct CommandOption {
  std::string name;   // without --
  std::string value;  // what stands for the value in --help
  std::string help;
};

class CommandArguments {
 public:
  // `command` is its name in messages, such as "skymm chat". Throws UsageError for what the table does not have (with
  // the nearest name), for an option that is given twice and for one without a value.
  CommandArguments(std::string command, const std::vector<CommandOption>& options,
                   const std::vector<std::string>& arguments);

  bool help() const { return help_; }  // --help or -h: nothing else needs to be right
  bool has(const std::string& name) const { return values_.contains(name); }
  std::string get(const std::string& name, const std::string& fallback = "") const;
  std::string required(const std::string& name) const;  // throws UsageError where it is not given, or empty
  std::int64_t integer(const std::string& name, std::int64_t fallback, std::int64_t least) const;

 private:
  std::string command_;
  bool help_ = false;
  std::map<std::string, std::string> values_;
};

// A line or more an option.
std::string options_help(const std::vector<CommandOption>& options);

}  // namespace skymm
