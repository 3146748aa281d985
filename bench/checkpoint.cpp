// Times checkpoints, next to plain writes and reads of as many bytes on the same disk by the same ranks. Prints one
// line of JSON.
//
//   [mpirun -n RANKS] bench_checkpoint DIR [MILLIONS [STAGE]]
//
// MILLIONS of parameters (16), of which each has 12 bytes, under ZeRO's STAGE (1). Each figure is the best of five; the
// file is dropped from the page cache before it is read, as far as the system lets it. stall_ms: how long training
// stands still. A ratio of 1 is the speed of the disk itself.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "core/log.hpp"
#include "io/hdf5.hpp"
#include "launch/training/checkpointer.hpp"
#include "launch/training/resume.hpp"
#include "parallel/communicator.hpp"

namespace skymm {
namespace {

constexpr int repeats = 5, tensors = 64;
constexpr std::int64_t block = std::int64_t{1} << 20;

// Seconds that all ranks need, the slowest counting; the best of some.
double best_of(Communicator& world, const std::function<void(int)>& work) {
  double best = 0;
  for (int i = 0; i < repeats; ++i) {
    world.barrier();
    const auto start = std::chrono::steady_clock::now();
    work(i);
    const std::chrono::duration<double> mine = std::chrono::steady_clock::now() - start;
    const Tensor all = Tensor::empty({world.size()}, DType::f64);
    world.all_gather(Tensor::full({1}, DType::f64, mine.count()), all);
    const std::vector<double> seconds = all.to_vector<double>();
    const double slowest = *std::ranges::max_element(seconds);
    if (i == 0 || slowest < best) best = slowest;
  }
  return best;
}

void drop_from_cache(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  check(fd >= 0, "cannot open {}", path);
  ::fsync(fd);
  ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  ::close(fd);
}

// This rank's share of a plain file, block by block.
void plain(const std::string& path, Communicator& world, std::int64_t bytes, bool writes) {
  const int fd = ::open(path.c_str(), writes ? O_RDWR | O_CREAT | O_CLOEXEC : O_RDONLY | O_CLOEXEC, 0644);
  check(fd >= 0, "cannot open {}", path);
  std::vector<char> data(static_cast<std::size_t>(block), 'x');
  for (std::int64_t at = world.rank() * block; at + block <= bytes; at += world.size() * block) {
    writes ? write_at(fd, data.data(), data.size(), at, path) : read_at(fd, data.data(), data.size(), at, path);
  }
  if (writes) ::fsync(fd);
  ::close(fd);
}

int run(const std::string& dir, std::int64_t millions, int stage) {
  const std::unique_ptr<Communicator> world = skymm::world();
  set_log_level(LogLevel::warn);
  std::filesystem::create_directories(dir);
  std::vector<std::unique_ptr<Parameter>> parameters;
  std::vector<NamedParameter> named;
  for (int i = 0; i < tensors; ++i) {
    parameters.push_back(std::make_unique<Parameter>(Shape{millions * 1000000 / tensors}));
    parameters.back()->value = Tensor::full(parameters.back()->shape, DType::bf16, i);
    parameters.back()->trainable = true;
    named.push_back({fmt::format("tensor_{:02}", i), parameters.back().get()});
  }
  Optimizer optimizer({named}, {}, {stage}, *world, *world);
  TrainConfig config;
  config.run.dir = dir;
  CheckpointInfo info;
  info.config = to_ini(config);
  const std::string folder = checkpoint_folder(dir), saved = checkpoint_path(folder, 1), raw = dir + "/plain";
  Checkpointer checkpointer(folder, {1}, optimizer, info);
  info.step = info.updates = 1;

  double stall = 0;
  const double write = best_of(*world, [&](int i) {
    const auto start = std::chrono::steady_clock::now();
    checkpointer.begin(info);
    const std::chrono::duration<double> stopped = std::chrono::steady_clock::now() - start;
    stall = i == 0 ? stopped.count() : std::min(stall, stopped.count());
    check(checkpointer.finish(), "no checkpoint could be written to {}", dir);
  });
  const auto bytes = static_cast<std::int64_t>(std::filesystem::file_size(saved));
  const double plain_write = best_of(*world, [&](int) { plain(raw, *world, bytes, true); });
  const double plain_read = best_of(*world, [&](int) {
    drop_from_cache(raw);
    plain(raw, *world, bytes, false);
  });
  const double read = best_of(*world, [&](int) {
    drop_from_cache(saved);
    check(resume(config, {}, optimizer, *world).from.has_value(), "the checkpoint cannot be read");
  });
  if (world->rank() == 0) {
    const double gigabytes = 1e-9 * static_cast<double>(bytes);
    fmt::print(
        "{{\"ranks\": {}, \"zero\": {}, \"gigabytes\": {:.3f}, \"stall_ms\": {:.1f}, \"write_GB_s\": {:.2f}, "
        "\"write_ratio\": {:.2f}, \"read_GB_s\": {:.2f}, \"read_ratio\": {:.2f}}}\n",
        world->size(), stage, gigabytes, 1e3 * stall, gigabytes / write, plain_write / write, gigabytes / read,
        plain_read / read);
    std::filesystem::remove(raw);
    std::filesystem::remove_all(folder);
  }
  return 0;
}

}  // namespace
}  // namespace skymm

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fputs("usage: bench_checkpoint DIR [MILLIONS [STAGE]]\n", stderr);
    return 2;
  }
  return skymm::run_ranks(
      [&] { return skymm::run(argv[1], argc > 2 ? std::stoll(argv[2]) : 16, argc > 3 ? std::stoi(argv[3]) : 1); });
}
