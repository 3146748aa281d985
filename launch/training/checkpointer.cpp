#include "launch/training/checkpointer.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <thread>
#include <utility>

#include "core/error.hpp"
#include "core/log.hpp"
#include "core/trace.hpp"
#include "io/hash.hpp"

namespace skymm {
namespace {

constexpr std::int64_t piece_elements = std::int64_t{1} << 18;  // 1 MiB of each array: a write, a checksum
constexpr std::chrono::milliseconds pause{5};                   // between looks at what is waited for

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

template <class T>
bool ended(const std::future<T>& work) {
  return work.valid() && work.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
}

CheckpointInfo with_origins(CheckpointInfo info, const std::vector<WeightOrigin>& origins) {
  info.origins = origins;
  return info;
}

// The ranks that hold the elements that `speaker` does; a data-parallel group where nothing is sharded.
std::vector<int> who_hold(const SpreadTensor& tensor, const Holder& speaker) {
  std::vector<int> ranks;
  for (const Holder& holder : tensor.holders) {
    if (holder.slice.begin == speaker.slice.begin && holder.slice.end == speaker.slice.end) {
      ranks.push_back(holder.rank);
    }
  }
  return ranks;
}

}  // namespace

Checkpointer::Checkpointer(std::string folder, const Retention& keep, const Optimizer& optimizer,
                           const CheckpointInfo& info, std::set<std::string> damaged)
    : folder_(std::move(folder)),
      keep_(keep),
      damaged_(std::move(damaged)),
      optimizer_(optimizer),
      world_(optimizer.world()),
      layout_(make_layout(info)),
      origins_(info.origins) {
  if (world_.rank() == 0) remove_interrupted_checkpoints(folder_);  // before any rank gets further
  check_shared();
  if (world_.rank() != 0 || origins_.empty()) return;
  hashed_ = std::async(std::launch::async, [this, origins = origins_] { return hash_origins(origins); });
}

Checkpointer::~Checkpointer() { give_up_ = true; }

// The slices that speak for their elements, cut into pieces of at most piece_elements. Of ranks that hold the same, the
// one with the least to write takes the next piece. Every rank computes the same list, and keeps its own.
CheckpointLayout Checkpointer::make_layout(const CheckpointInfo& info) {
  std::map<std::pair<std::string, std::int64_t>, std::size_t> states;
  for (std::size_t i = 0; i < optimizer_.states().size(); ++i) {
    const Slice& slice = optimizer_.states()[i].slice;
    states[{slice.tensor, slice.begin}] = i;
  }
  std::vector<StoredTensor> stored;
  std::vector<std::int64_t> load(static_cast<std::size_t>(world_.size()), 0);  // elements of each rank
  for (const SpreadTensor& tensor : optimizer_.tensors()) {
    StoredTensor& file = stored.emplace_back(StoredTensor{.name = tensor.name, .shape = tensor.shape});
    for (const Holder& holder : tensor.holders) {
      if (!holder.speaks) continue;
      const std::vector<int> ranks = who_hold(tensor, holder);
      for (std::int64_t begin = holder.slice.begin, end = 0; begin < holder.slice.end; begin = end) {
        end = std::min(holder.slice.end, (begin / piece_elements + 1) * piece_elements);
        file.begins.push_back(begin);
        const int writer =
            *std::ranges::min_element(ranks, {}, [&](int rank) { return load[static_cast<std::size_t>(rank)]; });
        load[static_cast<std::size_t>(writer)] += end - begin;
        if (writer != world_.rank()) continue;
        pieces_.push_back({stored.size() - 1, file.begins.size() - 1, states.at({tensor.name, holder.slice.begin}),
                           begin - holder.slice.begin, end - begin, staged_});
        staged_ += 3 * (end - begin);
      }
    }
  }
  const auto count = static_cast<std::int64_t>(3 + 3 * stored.size());
  if (world_.rank() == 0) {
    CheckpointLayout layout(std::move(stored), info);
    world_.broadcast(Tensor::from(layout.places(), {count}), 0);
    return layout;
  }
  const Tensor places = Tensor::empty({count}, DType::i64);
  world_.broadcast(places, 0);
  return {std::move(stored), places.to_vector<std::int64_t>()};
}

// Ranks that each wrote into a folder of their own would leave files with holes. A folder that cannot be written is
// another matter: each checkpoint will say so.
void Checkpointer::check_shared() const {
  const std::string mark = folder_ + "/.seen_by_all_ranks";
  const Tensor seen = Tensor::zeros({1}, DType::f32);
  std::error_code ignored;
  if (world_.rank() == 0) {
    std::filesystem::create_directories(folder_, ignored);
    if (std::ofstream(mark).put('\n').good()) seen.fill(1);
  }
  world_.broadcast(seen, 0);
  if (seen.item() == 0) return;
  seen.fill(std::filesystem::exists(mark) ? 1 : 0);
  world_.all_reduce(seen);
  if (world_.rank() == 0) std::filesystem::remove(mark, ignored);
  check(static_cast<int>(seen.item()) == world_.size(),
        "only {} of {} ranks see what rank 0 writes to {}; put run.dir on a file system that all hosts share",
        seen.item(), world_.size(), folder_);
}

void Checkpointer::begin(const CheckpointInfo& info) {
  const TraceSpan span("checkpoint", "io");
  const auto start = Clock::now();
  const bool waited = under_way_;
  wait();
  if (committed_.valid()) say_committed();
  if (waited && world_.rank() == 0) {
    log::warn("step {}: the checkpoint after step {} was still being written; training stood still for {:.2f} s for it",
              info.step, step_, seconds_since(start));
  }
  if (ended(hashed_)) origins_ = hashed_.get();
  began_ = start;
  step_ = info.step;
  under_way_ = true;
  saved_ = false;
  failure_.reset();
  try {
    copy();
    written_ = std::async(std::launch::async, [this, info = with_origins(info, origins_)] { return write(info); });
  } catch (const std::exception& error) {  // no memory, no thread
    failure_ = error.what();
  }
  stopped_ = seconds_since(began_);
}

void Checkpointer::copy() {
  const PurposeScope purpose(Purpose::checkpoints);
  staging_ = Tensor::empty({staged_}, DType::f32);
  for (const Piece& piece : pieces_) {
    const Optimizer::State& state = optimizer_.states()[piece.state];
    std::int64_t at = piece.staged;
    for (const Tensor* array : {&state.master, &state.m, &state.v}) {
      staging_.slice(0, at, at + piece.size).copy_from(array->slice(0, piece.begin, piece.begin + piece.size));
      at += piece.size;
    }
  }
  current_stream(cpu()).synchronize();
}

// A file that cannot be read keeps hash 0.
std::vector<WeightOrigin> Checkpointer::hash_origins(std::vector<WeightOrigin> origins) const {
  std::vector<char> block(std::size_t{1} << 20);
  for (WeightOrigin& origin : origins) {
    std::ifstream file(origin.path, std::ios::binary);
    Hash64 hash;
    while (file && !give_up_) {
      file.read(block.data(), static_cast<std::streamsize>(block.size()));
      hash.add(block.data(), static_cast<std::size_t>(file.gcount()));
    }
    if (file.eof()) origin.hash = hash.digest();
  }
  return origins;
}

std::string Checkpointer::write(const CheckpointInfo& info) {
  try {
    std::error_code ignored;  // opening the file says it better
    std::filesystem::create_directories(folder_, ignored);
    CheckpointPart part(layout_, checkpoint_path(folder_, info.step));
    if (world_.rank() == 0) part.write_structure(info);
    const float* staged = staging_.data<float>();
    for (const Piece& piece : pieces_) {
      if (give_up_) return "the run ended before it was written";
      for (int array = 0; array < 3; ++array) {
        part.write(piece.tensor, array, piece.number, staged + piece.staged + array * piece.size);
      }
    }
    part.close();
    writing_ = seconds_since(began_);
    return "";
  } catch (const Error& error) {
    return error.message();
  } catch (const std::exception& error) {
    return error.what();
  }
}

void Checkpointer::poll() {
  if (!under_way_) {
    if (ended(committed_)) say_committed();
    return;
  }
  if (!failure_ && ended(written_)) failure_ = written_.get();
  const Tensor state =
      Tensor::from(std::vector<double>{failure_ ? 1.0 : 0.0, failure_ && !failure_->empty() ? 1.0 : 0.0}, {2});
  world_.all_reduce(state);
  const std::vector<double> counts = state.to_vector<double>();
  if (static_cast<int>(counts[0]) == world_.size()) conclude(static_cast<int>(counts[1]));
}

// All ranks have ended their parts.
void Checkpointer::conclude(int failed) {
  under_way_ = false;
  staging_ = Tensor();
  if (!failure_->empty())
    log::error("this rank's part of the checkpoint after step {} is not written: {}", step_, *failure_);
  const Tensor seconds = Tensor::empty({world_.size()}, DType::f64);
  world_.all_gather(Tensor::full({1}, DType::f64, writing_), seconds);
  if (world_.rank() != 0) return;
  if (failed == 0) {
    writing_ = std::ranges::max(seconds.to_vector<double>());
    committed_ = std::async(std::launch::async, [this] { return commit(); });
    return;
  }
  discard_checkpoint(checkpoint_path(folder_, step_));
  log::error(
      "NO CHECKPOINT after step {}: {} of {} ranks could not write. Training goes on, and the checkpoints before "
      "it are whole; look at the disk of {}",
      step_, failed, world_.size(), folder_);
}

std::string Checkpointer::commit() {
  const auto start = Clock::now();
  try {
    commit_checkpoint(checkpoint_path(folder_, step_));
    committing_ = seconds_since(start);
    std::set<std::string> damaged = damaged_;
    damaged.erase(checkpoint_path(folder_, step_));
    remove_old_checkpoints(folder_, step_, keep_, damaged);
    return "";
  } catch (const Error& error) {
    return error.message();
  }
}

void Checkpointer::say_committed() {
  const std::string failure = committed_.get();
  saved_ = failure.empty();
  damaged_.erase(checkpoint_path(folder_, step_));
  if (saved_) {
    longest_ = std::max(longest_, writing_ + committing_);
    log::info("step {:>6}  checkpoint is on disk after {:.2f} s; training stood still for {:.1f} ms of them", step_,
              seconds_since(began_), 1e3 * stopped_);
  } else {
    log::error("NO CHECKPOINT after step {}: {}. Training goes on, and the checkpoints before it are whole", step_,
               failure);
  }
}

// Ranks look together, again and again, so that none of them seems to hang while another's disk is slow.
void Checkpointer::wait() {
  while (under_way_) {
    poll();
    if (under_way_) std::this_thread::sleep_for(pause);
  }
}

bool Checkpointer::finish() {
  const TraceSpan span("wait for the checkpoint", "io");
  wait();
  if (committed_.valid()) say_committed();
  const Tensor saved = Tensor::full({1}, DType::f32, saved_ ? 1 : 0);
  world_.broadcast(saved, 0);
  return saved.item() != 0;
}

double Checkpointer::seconds_to_save() const { return (under_way_ || committed_.valid() ? 2 : 1) * longest_; }

std::int64_t Checkpointer::newest() {
  std::int64_t step = -1;
  for (const CheckpointEntry& entry : checkpoints_in(folder_)) {
    if (!damaged_.contains(entry.path)) step = std::max(step, entry.step);
  }
  const Tensor told = Tensor::from(std::vector<std::int64_t>{step}, {1});  // what rank 0 sees
  world_.broadcast(told, 0);
  return told.to_vector<std::int64_t>()[0];
}

}  // namespace skymm
