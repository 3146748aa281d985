#include "parallel/status_board.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <new>
#include <type_traits>

#include "core/error.hpp"
#include "core/log.hpp"
#include "core/progress.hpp"

namespace skymm {
namespace {

// A value that one process writes and others read, in words, with a version that is odd while it is written (a
// seqlock). A writer that is stopped half-way leaves it odd: then the reader takes what there is.
template <class T>
class SharedValue {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  void store(const T& value) {
    Words words{};
    std::memcpy(words.data(), &value, sizeof(T));
    version_.fetch_add(1, std::memory_order_acq_rel);
    for (std::size_t i = 0; i < words.size(); ++i) words_[i].store(words[i], std::memory_order_release);
    version_.fetch_add(1, std::memory_order_release);
  }
  T load() const {
    Words words{};
    for (int attempt = 0; attempt < 1000; ++attempt) {
      const std::uint32_t before = version_.load(std::memory_order_acquire);
      for (std::size_t i = 0; i < words.size(); ++i) words[i] = words_[i].load(std::memory_order_acquire);
      if (before % 2 == 0 && version_.load(std::memory_order_acquire) == before) break;
    }
    T value;
    std::memcpy(static_cast<void*>(&value), words.data(), sizeof(T));
    return value;
  }

 private:
  using Words = std::array<std::uint64_t, (sizeof(T) + 7) / 8>;

  std::atomic<std::uint32_t> version_ = 0;
  std::array<std::atomic<std::uint64_t>, std::tuple_size_v<Words>> words_ = {};
};

// Process ids mean something only to processes of one namespace.
std::uint64_t pid_namespace() {
  struct stat info {};
  return stat("/proc/self/ns/pid", &info) == 0 ? info.st_ino : 0;
}

// The third field of /proc/PID/stat; the second may hold blanks, in parentheses. 'X': there is no such process.
char process_state(int pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  if (!file) return 'X';
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const auto at = text.rfind(')');
  return at == std::string::npos || at + 2 >= text.size() ? 'X' : text[at + 2];
}

std::atomic<StatusBoard*> board_of_process{nullptr};

}  // namespace

struct alignas(64) StatusBoard::Place {
  std::atomic<int> rank{0};
  std::atomic<int> pid{0};  // 0: this rank does not share
  std::atomic<std::uint64_t> pid_namespace{0};
  std::atomic<double> heartbeat{0};
  std::atomic<std::uint64_t> progress{0};
  SharedValue<RankStatus> status;
};

struct StatusBoard::Shared {
  std::atomic<double> ending{0};  // when a rank said that the job ends
  Place places[1];                // one a rank of the host
};

StatusBoard::StatusBoard() {
  MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
  MPI_Comm_size(MPI_COMM_WORLD, &size_);
  std::vector<char> names(static_cast<std::size_t>(size_) * MPI_MAX_PROCESSOR_NAME);
  char* own_name = names.data() + static_cast<std::size_t>(rank_) * MPI_MAX_PROCESSOR_NAME;
  int length = 0;
  MPI_Get_processor_name(own_name, &length);
  MPI_Allgather(MPI_IN_PLACE, 0, MPI_BYTE, names.data(), MPI_MAX_PROCESSOR_NAME, MPI_BYTE, MPI_COMM_WORLD);
  for (int r = 0; r < size_; ++r)
    hosts_.emplace_back(names.data() + static_cast<std::size_t>(r) * MPI_MAX_PROCESSOR_NAME);

  MPI_Comm host;
  MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &host);
  MPI_Comm_rank(host, &place_);
  MPI_Comm_size(host, &places_);
  map_shared(host);
  Place& own = shared_->places[place_];
  own.rank = rank_;
  own.pid_namespace = pid_namespace();
  own.pid = getpid();
  RankStatus status;
  status.since = steady_seconds();
  publish(status);
  beat();
  MPI_Barrier(host);  // all places are filled in
  MPI_Comm_free(&host);
}

// The host's first rank makes the file, the others open it; unlinked at once, it cannot outlive the job, however that
// ends.
void StatusBoard::map_shared(MPI_Comm host) {
  bytes_ = sizeof(Shared) + static_cast<std::size_t>(places_ - 1) * sizeof(Place);
  std::array<char, 64> name{};
  int file = -1;
  if (place_ == 0) {
    fmt::format_to_n(name.data(), name.size() - 1, "/skymm.{}.{}", getpid(), pid_namespace());
    shm_unlink(name.data());  // of a process of this number that was killed between the two
    file = shm_open(name.data(), O_CREAT | O_EXCL | O_RDWR, S_IRUSR | S_IWUSR);
    if (file >= 0 && ftruncate(file, static_cast<off_t>(bytes_)) != 0) {
      close(file);
      file = -1;
    }
  }
  MPI_Bcast(name.data(), static_cast<int>(name.size()), MPI_BYTE, 0, host);
  if (place_ > 0) file = shm_open(name.data(), O_RDWR, 0);
  void* memory = file < 0 ? MAP_FAILED : mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (file >= 0) close(file);
  MPI_Barrier(host);
  if (place_ == 0) shm_unlink(name.data());
  if (memory == MAP_FAILED) {
    log::warn("no shared memory in /dev/shm: a rank that hangs cannot be told from one that computes");
    memory = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check(memory != MAP_FAILED, "out of memory for {} bytes of status", bytes_);
  }
  // Fresh pages are zero; only this rank's place is given its initial values, so that nobody's are overwritten.
  shared_ = static_cast<Shared*>(memory);
  new (&shared_->places[place_]) Place;
}

StatusBoard::~StatusBoard() { munmap(shared_, bytes_); }

void StatusBoard::publish(const RankStatus& status) { shared_->places[place_].status.store(status); }

RankStatus StatusBoard::own() const { return shared_->places[place_].status.load(); }

void StatusBoard::beat() {
  shared_->places[place_].progress = progress_made();
  shared_->places[place_].heartbeat = steady_seconds();
}

std::optional<RankView> StatusBoard::view(int at) const {
  const Place& place = shared_->places[at];
  if (place.pid == 0) return std::nullopt;
  RankView view{.rank = place.rank, .status = place.status.load()};
  view.silent = std::max(0.0, steady_seconds() - place.heartbeat);
  if (place.pid_namespace == shared_->places[place_].pid_namespace) view.process = process_state(place.pid);
  return view;
}

std::vector<RankView> StatusBoard::ranks() const {
  std::vector<RankView> views;
  for (int i = 0; i < places_; ++i) {
    if (const auto one = view(i)) views.push_back(*one);
  }
  return views;
}

int StatusBoard::place_of(int rank) const {
  for (int i = 0; i < places_; ++i) {
    if (shared_->places[i].pid != 0 && shared_->places[i].rank == rank) return i;
  }
  return -1;
}

std::uint64_t StatusBoard::progress_awaited() const {
  std::uint64_t sum = 0;
  int at = place_;
  for (int seen = 0; at >= 0 && seen < places_; ++seen) {  // ranks in a deadlock go round
    const Place& place = shared_->places[at];
    sum += place.progress;
    const RankStatus status = place.status.load();
    at = status.state == RankStatus::State::waiting ? place_of(status.waits_for) : -1;
  }
  return sum;
}

std::optional<int> StatusBoard::gone_neighbor() const {
  const auto next = view((place_ + 1) % places_);
  if (!next || !next->gone()) return std::nullopt;
  // Read again: it may have finished, and then gone, since its status was read.
  const auto state = shared_->places[(place_ + 1) % places_].status.load().state;
  return state == RankStatus::State::finished ? std::nullopt : std::optional(next->rank);
}

bool StatusBoard::claim_end() {
  double goes_on = 0;
  return shared_->ending.compare_exchange_strong(goes_on, steady_seconds());
}

double StatusBoard::ending_for() const {
  const double ending = shared_->ending;
  return ending == 0 ? 0 : steady_seconds() - ending;
}

StatusBoard* status_board() { return board_of_process; }
void set_status_board(StatusBoard* board) { board_of_process = board; }

RankStatus::RankStatus(State now, const Call& in, const std::string& of) : state(now), called(true), call(in) {
  std::copy_n(of.data(), std::min(of.size(), communicator.size() - 1), communicator.data());
  since = steady_seconds();
}

void publish_begin(const Call& call, const Ledger& ledger) {
  made_progress();
  if (StatusBoard* board = status_board()) {
    board->publish(RankStatus(RankStatus::State::computing, call, ledger.communicator()));
  }
}

WaitScope::WaitScope(const Call& call, Ledger& ledger)
    : ledger_(ledger), status_(RankStatus::State::waiting, call, ledger.communicator()) {
  made_progress();
  if (StatusBoard* board = status_board()) board->publish(status_);
}

WaitScope::~WaitScope() {
  const double now = steady_seconds();
  ledger_.blocked(status_.call.kind, now - status_.since);
  status_.state = RankStatus::State::computing;
  status_.since = now;
  if (StatusBoard* board = status_board()) board->publish(status_);
}

void WaitScope::update(int waits_for, bool moved) {
  if (!moved && waits_for == status_.waits_for) return;
  status_.waits_for = waits_for;
  if (moved) made_progress();
  if (StatusBoard* board = status_board()) board->publish(status_);
}

}  // namespace skymm
