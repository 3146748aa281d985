#include "launch/training/ranks_report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <optional>
#include <set>
#include <string_view>
#include <vector>

#include "core/device.hpp"
#include "core/error.hpp"
#include "core/log.hpp"
#include "core/memory.hpp"
#include "core/trace.hpp"
#include "io/file.hpp"
#include "parallel/status_board.hpp"

namespace skymm {

std::string memory_table(Communicator& world, const SharedWeights& shared, Device& device) {
  constexpr int rows = purpose_count + 3;  // behind the purposes: all together, shared bytes and by how many ranks
  std::vector<double> peaks;
  const CachingAllocator& memory = device.allocator();
  for (int p = 0; p < purpose_count; ++p)
    peaks.push_back(static_cast<double>(memory.use(static_cast<Purpose>(p)).peak));
  peaks.push_back(static_cast<double>(memory.total().peak));
  peaks.push_back(static_cast<double>(shared.bytes));
  peaks.push_back(shared.ranks);
  const Tensor all = Tensor::empty({world.size() * rows}, DType::f64);
  world.all_gather(Tensor::from(peaks, {rows}), all);
  const std::vector<double> of_ranks = all.to_vector<double>();

  std::string table = fmt::format("  {:<14} {:>10} {:>6}\n", "purpose", "MiB", "rank");
  for (int row = 0; row < rows - 1; ++row) {
    int most = 0;
    const auto at = [&](int rank, int i) { return of_ranks[static_cast<std::size_t>(rank * rows + i)]; };
    const auto peak = [&](int rank) { return at(rank, row); };
    for (int rank = 1; rank < world.size(); ++rank) {
      if (peak(rank) > peak(most)) most = rank;
    }
    const double mib = peak(most) / (1 << 20);
    if (row <= purpose_count) {
      table += fmt::format("  {:<14} {:>10.1f} {:>6}\n",
                           row < purpose_count ? name_of(static_cast<Purpose>(row)) : "all", mib, most);
    } else if (mib > 0) {
      table += fmt::format("  {:<14} {:>10.1f} {:>6}  one copy of frozen weights for {:.0f} ranks of its node\n",
                           "shared", mib, most, at(most, row + 1));
    }
  }
  return table;
}

std::string clock_differences(Communicator& world, const HostClock& clock) {
  const Tensor all = Tensor::empty({world.size()}, DType::i64);
  world.all_gather(Tensor::from(std::vector<std::int64_t>{clock_offset(world, clock)}, {1}), all);
  const std::vector<std::int64_t> ahead = all.to_vector<std::int64_t>();
  const StatusBoard* board = status_board();
  std::set<std::string> told;
  std::string text;
  for (int rank = 0; rank < world.size(); ++rank) {
    const double seconds = 1e-9 * static_cast<double>(ahead[static_cast<std::size_t>(rank)]);
    const std::string host = board != nullptr ? board->host_of(rank) : "a host";
    if (std::abs(seconds) < 1 || !told.insert(host).second) continue;
    text += fmt::format("{}{} (rank {}) by {:.1f} s", text.empty() ? "" : ", ", host, rank, seconds);
  }
  return text;
}

namespace {

// What is written after a failure goes nowhere, and is said in the end.
class TraceFile {
 public:
  explicit TraceFile(const std::string& path) : path_(path) {
    attempt([&] { file_.emplace(path); });
  }
  void write(std::string_view text) {
    attempt([&] { file_->write(text); });
  }
  void commit() {
    attempt([&] { file_->commit(); });
    if (!failure_.empty()) log::warn("{} is not written: {}", path_, failure_);
  }

 private:
  void attempt(const std::function<void()>& work) {
    if (!failure_.empty()) return;
    try {
      work();
    } catch (const Error& error) {
      failure_ = error.message();
    }
  }

  std::string path_, failure_;
  std::optional<AtomicFile> file_;
};

}  // namespace

void write_trace(Communicator& world, const std::string& path) {
  constexpr std::int64_t none = std::numeric_limits<std::int64_t>::max();
  const std::int64_t ahead = clock_offset(world), began = trace_start();
  const Tensor starts = Tensor::empty({world.size()}, DType::i64);
  world.all_gather(Tensor::from(std::vector<std::int64_t>{began == none ? none : began - ahead}, {1}), starts);
  const std::int64_t first = std::ranges::min(starts.to_vector<std::int64_t>());
  const std::string mine = began == none ? "" : trace_events(first + ahead);
  const Tensor bytes = Tensor::from(std::vector<std::int64_t>{static_cast<std::int64_t>(mine.size())}, {1});
  if (world.rank() != 0) {
    world.send(bytes, 0);
    if (!mine.empty())
      world.send(
          Tensor::from(std::vector<std::uint8_t>(mine.begin(), mine.end()), {static_cast<std::int64_t>(mine.size())}),
          0);
    return;
  }
  TraceFile file(path);
  file.write("[\n");
  for (int rank = 0; rank < world.size(); ++rank) {
    file.write(fmt::format(R"({}{{"name":"process_name","ph":"M","pid":{},"args":{{"name":"rank {}"}}}})",
                           rank == 0 ? "" : ",\n", rank, rank));
    if (rank > 0) world.recv(bytes, rank);
    const auto count = bytes.to_vector<std::int64_t>()[0];
    if (count == 0) continue;
    file.write(",\n");
    if (rank == 0) {
      file.write(mine);
      continue;
    }
    const Tensor events = Tensor::empty({count}, DType::u8);
    world.recv(events, rank);
    const std::vector<std::uint8_t> text = events.to_vector<std::uint8_t>();
    file.write(std::string_view(reinterpret_cast<const char*>(text.data()), text.size()));
  }
  file.write("\n]\n");
  file.commit();
}

}  // namespace skymm
