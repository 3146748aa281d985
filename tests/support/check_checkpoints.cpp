// check_checkpoints DIR: reads every checkpoint of a run whole and prints the highest step (-1 where there is none).
// Ends with an error where one cannot be read: checkpoints appear whole or not at all, so none may ever be damaged.
#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "core/error.hpp"
#include "io/checkpoint.hpp"
#include "parallel/communicator.hpp"

int main(int argc, char** argv) {
  using namespace skymm;
  return run_ranks([&] {
    check(argc == 2, "usage: {} DIR", argv[0]);
    std::int64_t newest = -1;
    std::error_code absent;
    for (const auto& entry : std::filesystem::directory_iterator(argv[1], absent)) {
      if (entry.path().extension() == ".h5") newest = std::max(newest, load_checkpoint(entry.path()).step);
    }
    std::printf("%lld\n", static_cast<long long>(newest));
    return 0;
  });
}
