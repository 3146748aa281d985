#include "launch/training/run_lock.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "core/log.hpp"
#include "io/file.hpp"

namespace skymm {
namespace {

// Of this open file, not of the process, which would lose it by closing any other file of that name.
bool lock_whole(int fd) {
  struct flock whole {};
  whole.l_type = F_WRLCK;
  whole.l_whence = SEEK_SET;
  return ::fcntl(fd, F_OFD_SETLK, &whole) == 0;
}

// "on node3, process 4711"
std::string this_process() {
  std::array<char, 256> host{};
  if (::gethostname(host.data(), host.size() - 1) != 0) host[0] = 0;
  return fmt::format("on {}, process {}", host.data(), ::getpid());
}

}  // namespace

RunLock::RunLock(const std::string& run_dir) {
  std::error_code failure;
  std::filesystem::create_directories(run_dir, failure);
  check(!failure, "the run directory {} cannot be made: {}", run_dir, failure.message());
  const std::string path = run_dir + "/run.lock";
  fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  check(fd_ >= 0, "cannot create {}: {}", path, std::strerror(errno));
  if (lock_whole(fd_)) {
    const std::string who = this_process();
    if (::ftruncate(fd_, 0) != 0 || ::pwrite(fd_, who.data(), who.size(), 0) < 0) {
      log::debug("{} cannot tell who holds it: {}", path, std::strerror(errno));
    }
    return;
  }
  if (errno != EAGAIN && errno != EACCES) {
    log::warn("{} cannot be locked ({}): see to it yourself that no other run trains in there", path,
              std::strerror(errno));
    return;
  }
  ::close(fd_);
  throw RunInUse(fmt::format("another run trains in {} ({}); wait for its end, or give another run.dir", run_dir,
                             read_file(path)));
}

RunLock::~RunLock() { ::close(fd_); }

}  // namespace skymm
