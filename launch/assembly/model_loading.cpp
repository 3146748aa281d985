#include "launch/assembly/model_loading.hpp"

#include <algorithm>
#include <optional>
#include <sstream>

#include "core/error.hpp"
#include "core/log.hpp"
#include "io/weights/quantized.hpp"
#include "parallel/communicator.hpp"
#include "parallel/gather_text.hpp"
#include "parallel/shared_memory.hpp"

namespace skymm {
namespace {

// The parameters of a block that are held, and which rank of the node loads what is frozen of them.
struct Load {
  std::int64_t block = 0;
  bool sharded = false;  // each rank loads it, and keeps its part
  std::vector<NamedParameter> trained, frozen;
  std::int64_t elements = 0;  // of frozen
  int owner = 0;
};

BlockKind kind_of(const Multimodal& model, std::int64_t block) {
  return model_blocks(model.config())[static_cast<std::size_t>(block)].kind;
}

// Large blocks first: the head, plain and packed at once for a moment, when little else is there.
std::vector<Load> loads_of(Multimodal& model, int ranks, bool shards_layers) {
  std::map<std::int64_t, Load> by_block;
  for (const NamedParameter& entry : all_parameters(model)) {
    Load& load = by_block[block_of(model.config(), entry.name)];
    (entry.parameter->trainable ? load.trained : load.frozen).push_back(entry);
    if (!entry.parameter->trainable) load.elements += entry.parameter->shape.numel();
  }
  std::vector<Load> loads;
  for (auto& [block, load] : by_block) {
    load.block = block;
    load.sharded = shards_layers && !load.frozen.empty() && kind_of(model, block) == BlockKind::layer;
    loads.push_back(std::move(load));
  }
  std::ranges::stable_sort(loads, std::greater(), &Load::elements);
  std::vector<std::int64_t> given(static_cast<std::size_t>(ranks));
  for (Load& load : loads) {
    if (load.sharded) continue;
    const auto least = std::ranges::min_element(given);
    load.owner = static_cast<int>(least - given.begin());
    *least += load.elements;
  }
  return loads;
}

// The memory of those that are not packed away.
std::vector<Tensor> tensors_of(const std::vector<NamedParameter>& parameters) {
  std::vector<Tensor> tensors;
  for (const auto& [name, parameter] : parameters) {
    for (const auto& [part, tensor] : stored_tensors(name, *parameter)) {
      if (tensor.defined()) tensors.push_back(tensor);
    }
  }
  return tensors;
}

// Address space for everything that is frozen in its widest form: two packed copies, filled up to whole tiles.
std::size_t most_bytes(const std::vector<Load>& loads, DType dtype) {
  constexpr std::int64_t tile = 64;
  std::size_t bytes = 0;
  const auto filled = [](std::int64_t n) { return static_cast<std::size_t>((n + tile - 1) / tile * tile); };
  for (const Load& load : loads) {
    for (const NamedParameter& entry : load.frozen) {
      const Shape& shape = entry.parameter->shape;
      const std::int64_t rows = std::max<std::int64_t>(1, shape[0]);
      bytes += 2 * filled(rows) * filled(shape.numel() / rows) * size_of(dtype) + (std::size_t{1} << 16);
    }
  }
  return bytes;
}

std::shared_ptr<SharedMemory> memory_for(Communicator& node, const std::vector<Load>& loads, DType dtype) {
  const bool nothing = std::ranges::all_of(loads, [](const Load& load) { return load.frozen.empty(); });
  if (node.size() == 1 || nothing) return nullptr;
  const SharedMemory::Made made = SharedMemory::make(node, most_bytes(loads, dtype));
  if (made.memory == nullptr && node.rank() == 0) {
    log::warn("{} ranks of this node keep a copy each of the same frozen weights: they cannot share memory ({})",
              node.size(), made.problem);
  }
  return made.memory;
}

// Whether freezing may pack weights of the block, whose plain values are then there for a moment only.
bool is_packed(const Multimodal& model, std::int64_t block) {
  if (model.config().packing == Packing::none || model.config().quantization) return false;
  const BlockKind kind = kind_of(model, block);
  return kind == BlockKind::vision || kind == BlockKind::layer || kind == BlockKind::head;
}

// The ViT whose features come in place of pictures is read to be known by its hashes, and not kept.
bool is_kept(const Multimodal& model, std::int64_t block) {
  return !model.config().features || kind_of(model, block) != BlockKind::vision;
}

class Loading {
 public:
  Loading(Multimodal& model, const WeightLoader& weights, std::shared_ptr<SharedMemory> memory, int rank,
          FrozenShards* shards)
      : model_(model),
        weights_(weights),
        memory_(std::move(memory)),
        rank_(rank),
        shards_(shards),
        nowhere_(model.device()) {}

  void run(const Load& load) {
    const bool mine = memory_ == nullptr || load.owner == rank_;
    if (!is_kept(model_, load.block)) return look_at(load, mine);
    for (const NamedParameter& entry : load.trained) weights_.load(entry);
    load.sharded ? shard(load) : keep(load, mine);
    trim();
  }

  // A line a weight.
  const std::string& hashes() const { return hashes_; }

 private:
  // What was needed for a moment goes back to the system: in the cache it would be there beside the weights.
  void trim() { model_.device().allocator().trim(); }

  void look_at(const Load& load, bool mine) {
    if (!mine) return;
    for (const Tensor& tensor : tensors_of(load.frozen)) tensor.storage().take();
    fill(load);
    for (const Tensor& tensor : tensors_of(load.frozen)) tensor.storage().drop();
    trim();
  }

  void keep(const Load& load, bool mine) {
    if (memory_ != nullptr) memory_->set_writing(mine);
    const bool stays = memory_ != nullptr && !is_packed(model_, load.block);
    for (const Tensor& tensor : tensors_of(load.frozen)) {
      stays ? tensor.storage().move_to(memory_, false) : tensor.storage().take();
    }
    if (mine) fill(load);
    freeze(load, mine ? nullptr : &nowhere_, memory_);
    if (memory_ != nullptr) {  // what is small beside packed weights: norms and biases
      for (const Tensor& tensor : tensors_of(load.frozen)) tensor.storage().move_to(memory_, mine);
    }
  }

  void shard(const Load& load) {
    for (const Tensor& tensor : tensors_of(load.frozen)) tensor.storage().take();
    fill(load);
    freeze(load, nullptr, nullptr);
    shards_->add(load.block, model_.layer_tensors(load.block - first_block(model_.config(), BlockKind::layer)));
  }

  void fill(const Load& load) {
    for (const NamedParameter& entry : load.frozen) {
      weights_.load(entry);
      trim();
      hashes_ += fmt::format("{} {}\n", entry.name, content_hash(stored_tensors(entry.name, *entry.parameter)));
    }
  }

  // Whoever does not fill the block lays out the same memory, and computes nothing: all goes to `nowhere`.
  void freeze(const Load& load, ForgetfulStream* nowhere, const std::shared_ptr<SharedMemory>& memory) {
    const bool held = std::ranges::any_of(
        model_.pieces(), [&](BlockRange piece) { return piece.begin <= load.block && load.block < piece.end; });
    if (!held) return;  // a tied table beside the head alone
    const WeightMemoryScope scope(memory);
    std::optional<StreamScope> forgetful;
    if (nowhere != nullptr) forgetful.emplace(*nowhere);
    model_.freeze({load.block, load.block + 1});
    current_stream(model_.device()).synchronize();
  }

  Multimodal& model_;
  const WeightLoader& weights_;
  std::shared_ptr<SharedMemory> memory_;
  int rank_;
  FrozenShards* shards_;
  ForgetfulStream nowhere_;
  std::string hashes_;
};

}  // namespace

LoadedModel load_and_freeze(Multimodal& model, const WeightLoader& weights, Communicator& replicas, bool share,
                            FrozenShards* shards) {
  weights.check_has(all_parameters(model));
  const bool can_share = share && replicas.size() > 1 && model.device().kind() == DeviceKind::cpu;
  const std::unique_ptr<Communicator> node =
      can_share ? split_by_node(replicas) : std::make_unique<SingleCommunicator>();
  if (shards != nullptr && node->size() == replicas.size() && node->rank() == 0) {
    log::warn(
        "parallel.shard_frozen spreads frozen layers over {} ranks of one node, which could keep one copy of them: "
        "without it they hold less, and move nothing",
        node->size());
  }
  const std::vector<Load> loads = loads_of(model, node->size(), shards != nullptr);
  const std::shared_ptr<SharedMemory> memory = memory_for(*node, loads, model.dtype());
  for (const Load& load : loads) {  // until it is its turn
    for (const Tensor& tensor : tensors_of(load.frozen)) tensor.storage().drop();
  }
  model.device().allocator().trim();
  if (memory != nullptr) model.device().allocator().reset_peak();  // it was never touched: what was used is what comes
  Loading loading(model, weights, memory, node->rank(), shards);
  for (const Load& load : loads) loading.run(load);

  LoadedModel loaded;
  std::vector<std::string> hashes{loading.hashes()};
  if (memory != nullptr) {
    hashes = gather_text(*node, loading.hashes());
    memory->seal(*node);
    loaded.shared = {memory->used(), node->size()};
  }
  for (const std::string& text : hashes) {
    std::istringstream lines(text);
    std::string name;
    for (std::uint64_t hash = 0; lines >> name >> hash;) loaded.frozen[name] = hash;
  }
  return loaded;
}

}  // namespace skymm
