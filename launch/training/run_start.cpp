#include "launch/training/run_start.hpp"

#include <omp.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "core/error.hpp"
#include "io/file.hpp"
#include "launch/config/options.hpp"

namespace skymm {
namespace {

using nlohmann::json;

std::string cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name")) return std::string(trimmed(std::string_view(line).substr(line.find(':') + 1)));
  }
  return "";
}

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  std::array<char, 32> text{};
  std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text.data();
}

}  // namespace

// The start is the 22nd field of /proc/self/stat, in ticks since the system's start; the second holds the name, in
// brackets, and may have spaces.
double seconds_since_process_start() {
  std::string text;
  std::getline(std::ifstream("/proc/self/stat"), text);
  std::istringstream fields(text.substr(std::min(text.size(), text.rfind(')') + 1)));
  std::string field;
  for (int i = 3; i <= 22; ++i) fields >> field;
  timespec now{};
  clock_gettime(CLOCK_BOOTTIME, &now);
  const double started = std::strtod(field.c_str(), nullptr) / static_cast<double>(sysconf(_SC_CLK_TCK));
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec) - started;
}

RunStart this_start(int ranks) {
  std::array<char, 256> host{};
  if (gethostname(host.data(), host.size() - 1) != 0) host[0] = 0;
  return {utc_now(), host.data(),          cpu_name(), static_cast<int>(std::thread::hardware_concurrency()),
          ranks,     omp_get_max_threads()};
}

void append_start(const std::string& run_dir, const RunStart& start) {
  const std::string path = run_dir + "/starts.jsonl";
  std::ofstream file(path, std::ios::app);
  const json entry = {{"time", start.time},   {"host", start.host},   {"cpu", start.cpu},
                      {"cores", start.cores}, {"ranks", start.ranks}, {"threads", start.threads}};
  file << entry.dump(-1, ' ', false, json::error_handler_t::replace) << '\n' << std::flush;
  check(file.good(), "{} cannot be written", path);
}

void record_start(const TrainConfig& config, int ranks) {
  std::filesystem::create_directories(config.run.dir);
  write_file(config.run.dir + "/config.ini", to_ini(config));
  append_start(config.run.dir, this_start(ranks));
}

std::vector<RunStart> read_starts(const std::string& run_dir) {
  std::vector<RunStart> starts;
  std::ifstream file(run_dir + "/starts.jsonl");
  for (std::string line; std::getline(file, line);) {
    try {
      const json entry = json::parse(line);
      starts.push_back({entry.at("time"), entry.at("host"), entry.at("cpu"), entry.at("cores"), entry.at("ranks"),
                        entry.at("threads")});
    } catch (const json::exception&) {  // the line of a start that was cut off
    }
  }
  return starts;
}

}  // namespace skymm
