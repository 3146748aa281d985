#include "launch/training/stop_request.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "core/error.hpp"
#include "core/log.hpp"
#include "core/signal_stack.hpp"
#include "launch/config/config.hpp"
#include "launch/config/exit_code.hpp"

namespace skymm {
namespace {

constexpr std::array<int, 3> asking{SIGUSR1, SIGTERM, SIGINT};
std::array<struct sigaction, asking.size()> before;
std::atomic<int> asked_by{0};  // the first signal that asked; 0: none
static_assert(std::atomic<int>::is_always_lock_free);

// Only what is safe in a handler.
void on_signal(int signal) {
  const int first = asked_by.exchange(signal);
  if (signal != SIGINT || first != SIGINT) return;
  constexpr std::string_view line = "interrupted twice: this rank ends at once\n";
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, line.data(), line.size());
  ::_exit(exit_code::interrupted);
}

std::string name_of_signal(int signal) {
  return signal == SIGUSR1 ? "SIGUSR1" : signal == SIGTERM ? "SIGTERM" : "SIGINT";
}

std::optional<SystemTime> parse_unix_time(std::string_view text) {
  std::int64_t seconds = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error != std::errc() || end != text.data() + text.size() || seconds <= 0) return std::nullopt;
  return SystemTime(std::chrono::seconds(seconds));
}

// What `scontrol show job` says behind "EndTime=": seconds since 1970 where asked for, "Unknown" without a limit.
std::optional<SystemTime> ask_scontrol(const std::string& job) {
  const std::string command = fmt::format("SLURM_TIME_FORMAT=%s scontrol --oneliner show job {} 2>/dev/null", job);
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(::popen(command.c_str(), "r"), ::pclose);
  if (!pipe) return std::nullopt;
  std::string said;
  for (int c = 0; (c = std::fgetc(pipe.get())) != EOF;) said += static_cast<char>(c);
  constexpr std::string_view key = " EndTime=";
  const std::size_t at = said.find(key);
  if (at == std::string::npos) return std::nullopt;
  const std::size_t from = at + key.size();
  return parse_unix_time(std::string_view(said).substr(from, said.find_first_of(" \n", from) - from));
}

// For scontrol: of a task of an array "36_2", as SLURM_JOB_ID may be the array's own, which means all of its tasks.
// Empty outside of Slurm.
std::string slurm_job() {
  const auto number = [](const char* variable) -> std::string {
    const char* text = std::getenv(variable);
    const bool is =
        text != nullptr && std::ranges::all_of(std::string_view(text), [](char c) { return c >= '0' && c <= '9'; });
    return is ? text : "";
  };
  const std::string array = number("SLURM_ARRAY_JOB_ID"), task = number("SLURM_ARRAY_TASK_ID");
  return array.empty() || task.empty() ? number("SLURM_JOB_ID") : array + "_" + task;
}

}  // namespace

StopSignals::StopSignals() {
  asked_by = 0;
  use_signal_stack();
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART | SA_ONSTACK;
  for (std::size_t i = 0; i < asking.size(); ++i) sigaction(asking[i], &action, &before[i]);
}

StopSignals::~StopSignals() {
  for (std::size_t i = 0; i < asking.size(); ++i) sigaction(asking[i], &before[i], nullptr);
  asked_by = 0;
}

std::optional<SystemTime> job_end_time() {
  if (const char* end = std::getenv("SLURM_JOB_END_TIME")) return parse_unix_time(end);
  const std::string job = slurm_job();
  return job.empty() ? std::nullopt : ask_scontrol(job);
}

StopRequest::StopRequest(const std::string& how, std::optional<SystemTime> end) {
  if (const auto minutes = parse_save_before_end(how)) fixed_margin_ = Seconds(60 * *minutes);
  if (how == "none" || !end) return;
  end_ = end;
  spare_ = std::min<Seconds>(spare_, (*end - std::chrono::system_clock::now()) / 10);
}

bool StopRequest::asked() {
  const auto now = std::chrono::steady_clock::now();
  const bool first = !called_;
  if (called_) longest_ = std::max(longest_, Seconds(now - last_call_));
  last_call_ = now;
  called_ = true;
  if (!reason_.empty()) return true;
  if (const int signal = asked_by; signal != 0) {
    reason_ = name_of_signal(signal);
  } else if (end_ && Seconds(*end_ - std::chrono::system_clock::now()) <= margin()) {
    const double left = Seconds(*end_ - std::chrono::system_clock::now()).count();
    check(!first || !fixed_margin_,
          "the job ends in {:.0f} s, and run.save_before_end asks for {:.0f} s: not a step would be done, however "
          "often it "
          "is started; give less, or auto",
          left, margin().count());
    reason_ = fmt::format("the job ends in {:.0f} s", left);
  }
  return !reason_.empty();
}

StopRequest::Seconds StopRequest::margin() const { return fixed_margin_.value_or(spare_ + 2 * longest_ + saving_); }

}  // namespace skymm
