#include "parallel/shared_memory.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "core/error.hpp"
#include "core/round_up.hpp"
#include "parallel/gather_text.hpp"

namespace skymm {
namespace {

constexpr std::size_t alignment = 64;

std::size_t page_size() {
  static const auto size = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  return size;
}

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  ~FileDescriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

// "" where all went well.
std::string problem_of(const char* what, bool good) {
  return good ? "" : fmt::format("{}: {}", what, std::strerror(errno));
}

// Device and number of the file, which no other file of this kernel has.
std::string identity_of(int fd) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return "?";
  return fmt::format("{}:{}", status.st_dev, status.st_ino);
}

// The first rank's file; -1, with the reason in `problem`, where there is none.
int make_file(std::size_t capacity, std::string& problem) {
  const int fd = ::memfd_create("skymm-frozen-weights", MFD_CLOEXEC);
  problem = problem_of("memfd_create", fd >= 0);
  if (fd >= 0) problem = problem_of("its size", ::ftruncate(fd, static_cast<off_t>(capacity)) == 0);
  return fd;
}

// place: PID, descriptor and identity of the file, as its maker tells them.
int open_file(const std::string& place, std::string& problem) {
  std::istringstream words(place);
  std::string process, descriptor, identity;
  words >> process >> descriptor >> identity;
  const std::string path = fmt::format("/proc/{}/fd/{}", process, descriptor);
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  problem = problem_of(path.c_str(), fd >= 0);
  if (fd >= 0 && identity_of(fd) != identity) problem = path + " is another process's";
  return fd;
}

void* map(int fd, std::size_t capacity, std::string& problem) {
  void* const bytes = ::mmap(nullptr, capacity, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
  problem = problem_of("mmap", bytes != MAP_FAILED);
  if (bytes == MAP_FAILED) return nullptr;
  ::madvise(bytes, capacity, MADV_HUGEPAGE);  // where the system gives them to shared memory
  return bytes;
}

// The first of the ranks' problems.
std::string any_problem(Communicator& node, const std::string& mine) {
  const std::vector<std::string> all = gather_text(node, mine);
  const auto found = std::ranges::find_if(all, [](const std::string& problem) { return !problem.empty(); });
  return found == all.end() ? "" : *found;
}

}  // namespace

std::string node_name() {
  std::string boot;
  std::getline(std::ifstream("/proc/sys/kernel/random/boot_id"), boot);
  std::error_code none;
  const std::string processes = std::filesystem::read_symlink("/proc/self/ns/pid", none).string();
  // Where the system does not tell, each process is a node of its own.
  if (boot.empty() || processes.empty()) return fmt::format("process {}", ::getpid());
  return boot + " " + processes;
}

std::unique_ptr<Communicator> split_by_node(Communicator& ranks, const std::string& node) {
  const std::vector<std::string> nodes = gather_text(ranks, node);
  const auto first = std::ranges::find(nodes, node) - nodes.begin();  // the lowest rank of this node
  return ranks.split(static_cast<int>(first), ranks.rank(), ranks.name() + " of a node");
}

SharedMemory::Made SharedMemory::make(Communicator& node, std::size_t capacity) {
  capacity = round_up(std::max<std::size_t>(capacity, 1), page_size());
  const bool maker = node.rank() == 0;
  std::string problem;
  const FileDescriptor made(maker ? make_file(capacity, problem) : -1);
  std::string place;
  if (maker && problem.empty()) place = fmt::format("{} {} {}", ::getpid(), made.get(), identity_of(made.get()));
  place = broadcast_text(node, place);
  const FileDescriptor opened(maker || place.empty() ? -1 : open_file(place, problem));
  void* bytes = nullptr;
  if (problem.empty() && !place.empty()) bytes = map(maker ? made.get() : opened.get(), capacity, problem);
  problem = any_problem(node, problem);  // and the maker's file stays open until all have it
  std::shared_ptr<SharedMemory> memory;
  if (bytes != nullptr) memory.reset(new SharedMemory(static_cast<char*>(bytes), capacity));
  if (!problem.empty()) memory = nullptr;
  return {memory, problem};
}

SharedMemory::~SharedMemory() { ::munmap(bytes_, capacity_); }

void* SharedMemory::allocate(std::size_t bytes) {
  check(!sealed_, "the shared weights are complete; nothing is allocated there any more");
  const std::size_t begin = used_, end = used_ + round_up(bytes, alignment);
  check(end <= capacity_, "the shared weights take more than the {} bytes that were set aside for them", capacity_);
  used_ = end;
  ++allocations_;
  if (writing_ && begin < end) {
    const std::size_t page = begin / page_size() * page_size();
    // Systems that do not know it take memory as it is touched, and end the process where there is none.
    const bool taken = ::madvise(bytes_ + page, round_up(end, page_size()) - page, MADV_POPULATE_WRITE) == 0;
    check(taken || errno == EINVAL,
          "out of memory: {:.1f} MiB for weights that ranks of this node share ({}). Use more pipeline stages, or "
          "weights in fewer bits",
          static_cast<double>(bytes) / (1 << 20), std::strerror(errno));
  }
  return bytes_ + begin;
}

void SharedMemory::seal(Communicator& node) {
  const std::vector<std::string> layouts = gather_text(node, fmt::format("{} bytes in {} parts", used_, allocations_));
  for (const std::string& layout : layouts) {
    check(layout == layouts.front(),
          "ranks of this node laid out the weights that they share differently: {} and {}. Start all with the same "
          "binary and environment, or set run.share_frozen off",
          layouts.front(), layout);
  }
  sealed_ = true;
  check(::mprotect(bytes_, capacity_, PROT_READ) == 0, "cannot protect shared weights: {}", std::strerror(errno));
  ::munmap(bytes_ + round_up(used_, page_size()), capacity_ - round_up(used_, page_size()));
  capacity_ = round_up(used_, page_size());
}

}  // namespace skymm
