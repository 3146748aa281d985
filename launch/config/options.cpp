#include "launch/config/options.hpp"

#include <algorithm>
#include <boost/program_options.hpp>
#include <charconv>
#include <cmath>

namespace skymm {

int edit_distance(std::string_view a, std::string_view b) {
  // Rows of the dynamic program: two before, one before, this one (optimal string alignment).
  std::vector<int> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) last[j] = static_cast<int>(j);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = static_cast<int>(i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) row[j] = std::min(row[j], before[j - 2] + 1);
    }
    std::swap(before, last);
    std::swap(last, row);
  }
  return last[b.size()];
}

std::string nearest(std::string_view name, const std::vector<std::string>& candidates) {
  const auto bare = [](std::string_view text) { return text.substr(text.rfind('.') + 1); };
  std::string best;
  int best_distance = std::max(2, static_cast<int>(name.size()) / 3) + 1;
  for (const std::string& candidate : candidates) {
    int distance = edit_distance(name, candidate);
    // The right name in the wrong section, or in none, costs one.
    distance = std::min(distance, edit_distance(bare(name), bare(candidate)) + 1);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

namespace {

template <class T>
bool parse_whole(std::string_view text, T& value) {
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  return code == std::errc() && end == text.data() + text.size();
}

}  // namespace

std::int64_t parse_integer(std::string_view text) {
  std::int64_t value = 0;
  check(parse_whole(text, value), "'{}' is not a whole number", text);
  return value;
}

std::uint64_t parse_unsigned(std::string_view text) {
  std::uint64_t value = 0;
  check(parse_whole(text, value), "'{}' is not a whole number from 0", text);
  return value;
}

std::int64_t parse_count(std::string_view text) {
  const std::int64_t value = parse_integer(text);
  check(value >= 0, "{} is out of range: at least 0", value);
  return value;
}

std::int64_t parse_positive(std::string_view text) {
  const std::int64_t value = parse_integer(text);
  check(value >= 1, "{} is out of range: at least 1", value);
  return value;
}

double parse_size(std::string_view text) {
  const std::string_view units = "KMGT";
  const std::size_t unit = text.empty() ? units.npos : units.find(text.back());
  const double value = parse_number(unit == units.npos ? text : text.substr(0, text.size() - 1));
  check(value > 0, "{} is out of range: a size is more than 0", text);
  return unit == units.npos ? value : std::ldexp(value, 10 * (static_cast<int>(unit) + 1));
}

double parse_number(std::string_view text) {
  double value = 0;
  check(parse_whole(text, value) && std::isfinite(value), "'{}' is not a number", text);
  return value;
}

bool parse_bool(std::string_view text) {
  check(text == "true" || text == "false", "'{}' is neither true nor false", text);
  return text == "true";
}

std::string_view trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1);
}

std::vector<std::string> split_list(std::string_view text) {
  std::vector<std::string> parts;
  text = trimmed(text);
  if (text.empty() || text == "none") return parts;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    parts.emplace_back(trimmed(text.substr(begin, end - begin)));
    check(!parts.back().empty(), "'{}' has an empty item; items are separated by one comma", text);
    begin = end + 1;
  }
  return parts;
}

std::vector<std::string> wrapped(std::string_view text, std::size_t width) {
  std::vector<std::string> lines(1);
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find(' ', begin), text.size());
    const std::string_view word = text.substr(begin, end - begin);
    if (!lines.back().empty() && lines.back().size() + 1 + word.size() > width) lines.emplace_back();
    if (!lines.back().empty()) lines.back() += ' ';
    lines.back() += word;
    begin = end + 1;
  }
  return lines;
}

std::string help_entry(const std::string& name, const std::string& help, std::size_t column) {
  std::string text, line = "  " + name;
  if (line.size() >= column) {
    text += line + '\n';
    line.clear();
  }
  for (const std::string& part : wrapped(help, 118 - column)) {
    text += fmt::format("{:<{}}{}\n", line, column, part);
    line.clear();
  }
  return text;
}

std::string flags_help(const std::vector<Flag>& flags) {
  std::string text;
  for (const Flag& flag : flags) text += help_entry(fmt::format("--{} {}", flag.name, flag.value), flag.help, 26);
  return text;
}

const std::string* Arguments::find(std::string_view name) const {
  const auto found = std::ranges::find(named, name, &std::pair<std::string, std::string>::first);
  return found == named.end() ? nullptr : &found->second;
}

std::string Arguments::text(std::string_view name) const {
  const std::string* value = find(name);
  return value == nullptr ? "" : *value;
}

std::string Arguments::required(std::string_view name) const {
  const std::string* value = find(name);
  if (value == nullptr || value->empty()) fail_usage("{} needs --{}; --help shows how", command, name);
  return *value;
}

Arguments parse_arguments(const std::string& command, const std::vector<Flag>& flags,
                          const std::vector<std::string>& arguments, std::size_t most_positional,
                          const std::vector<std::string>& repeatable) {
  namespace po = boost::program_options;
  Arguments result;
  result.command = command;
  result.help = std::ranges::any_of(arguments, [](const std::string& a) { return a == "--help" || a == "-h"; });
  if (result.help) return result;
  po::options_description description;
  std::vector<std::string> names;
  for (const Flag& flag : flags) {
    description.add_options()(flag.name, po::value<std::string>());
    names.emplace_back(flag.name);
  }
  std::vector<po::option> given;
  try {
    constexpr int style = po::command_line_style::allow_long | po::command_line_style::long_allow_adjacent |
                          po::command_line_style::long_allow_next;
    given = po::command_line_parser(arguments).options(description).style(style).allow_unregistered().run().options;
  } catch (const po::error& error) {
    fail_usage("{}; {} --help lists the options", error.what(), command);
  }
  for (const po::option& option : given) {
    const std::string& name = option.string_key;
    const std::string value = option.value.empty() ? "" : option.value.front();
    if (name.empty() || option.position_key >= 0) {
      result.positional.push_back(value);
    } else if (option.unregistered) {
      const std::string guess = nearest(name, names);
      fail_usage("unknown option '--{}'{}; {} --help lists all", name,
                 guess.empty() ? "" : fmt::format(", did you mean '--{}'", guess), command);
    } else {
      const bool again = result.find(name) != nullptr && std::ranges::find(repeatable, name) == repeatable.end();
      if (again) fail_usage("--{} is given twice", name);
      result.named.emplace_back(name, value);
    }
  }
  if (result.positional.size() > most_positional) {
    fail_usage("'{}' is not expected here; {} --help lists the options", result.positional[most_positional], command);
  }
  return result;
}

}  // namespace skymm
