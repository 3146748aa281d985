// What loading weights costs: each byte is read once over all ranks of a pipeline, and none stays in memory beside its
// copy.
#include <fstream>
#include <string>

#include "core/memory.hpp"
#include "core/progress.hpp"
#include "io/weights/safetensors.hpp"
#include "launch/assembly/model_loading.hpp"
#include "parallel/communicator.hpp"
#include "support/load_weights.hpp"
#include "support/support.hpp"
#include "support/text.hpp"

namespace skymm {
namespace {

using testing::load_weights;
using testing::TemporaryFolder;

// 111 MB in bf16; a tenth of half of it is far more than the system rounds to.
MultimodalConfig config() {
  MultimodalConfig config;
  config.decoder = {2048, 1024, 4, 8, 8, 128, 2816, 1e-5F, 1e4F, false};
  return config;
}

std::shared_ptr<const WeightSource> write_weights(const std::string& path, const MultimodalConfig& config) {
  Multimodal model(config, DType::bf16, cpu());  // of names and shapes; its memory is never touched
  std::vector<PlannedTensor> tensors;
  for (const NamedParameter& entry : all_parameters(model)) {
    const Shape shape = entry.parameter->shape;
    tensors.push_back({entry.name, DType::bf16, shape, [shape] { return Tensor::full(shape, DType::bf16, 0.5); }});
  }
  stream_safetensors(path, tensors);
  return open_weights(path);
}

std::uint64_t payload(const WeightSource& file) {
  std::uint64_t bytes = 0;
  for (const WeightEntry& entry : file.entries()) bytes += entry.end - entry.begin;
  return bytes;
}

// Of this process, from /proc/self/status: "VmRSS", "VmHWM" (the most since the last reset).
double resident_bytes(const std::string& key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(key + ":")) return 1024 * std::stod(line.substr(key.size() + 1));
  }
  return 0;
}
void reset_peak() { std::ofstream("/proc/self/clear_refs") << "5"; }

// What loading a piece of the model needed at most, and what the piece takes.
struct Loaded {
  double needed = 0, share = 0;
};
Loaded load_piece(const MultimodalConfig& config, BlockRange piece, const std::shared_ptr<const WeightSource>& file) {
  Multimodal model(config, DType::bf16, cpu(), {piece});
  Loaded loaded;
  for (const NamedParameter& entry : all_parameters(model)) {
    loaded.share += static_cast<double>(entry.parameter->value.bytes());
  }
  const PretrainedPart part = bind_decoder(config.decoder, file);
  cpu().allocator().trim();
  reset_peak();
  const double before = resident_bytes("VmRSS");
  load_weights(model, {part});
  loaded.needed = resident_bytes("VmHWM") - before;
  return loaded;
}

TEST(Loading, ReadsEachByteOnceAndKeepsNoneTwice) {
  const TemporaryFolder folder;
  const std::shared_ptr<const WeightSource> file = write_weights(folder.file("weights.safetensors"), config());
  const std::int64_t blocks = all_blocks(config()).size();
  for (const BlockRange piece : {BlockRange{0, blocks / 2}, BlockRange{blocks / 2, blocks}}) {
    const Loaded loaded = load_piece(config(), piece, file);
    EXPECT_GT(loaded.share, 50e6);
#ifndef __SANITIZE_ADDRESS__  // which needs memory of its own
    EXPECT_LT(loaded.needed, 1.1 * loaded.share);
#endif
  }
  EXPECT_EQ(file->bytes_read(), payload(*file));
}

TEST(Loading, EachWeightThatIsWrittenOrReadIsProgress) {
  const TemporaryFolder folder;
  const std::uint64_t start = progress_made();
  const std::shared_ptr<const WeightSource> file = write_weights(folder.file("weights.safetensors"), config());
  const std::uint64_t written = progress_made();
  EXPECT_GE(written - start, file->entries().size());
  load_piece(config(), all_blocks(config()), file);
  EXPECT_GE(progress_made() - written, file->entries().size());
}

// A rank's piece of a model of many small blocks: 104 MB in bf16, of which a layer is a twenty-fifth.
MultimodalConfig config_of_layers() {
  MultimodalConfig config;
  config.decoder = {1024, 512, 24, 8, 8, 64, 704, 1e-5F, 1e4F, false};
  return config;
}

// By the allocator's books, which know what was there beside the weights, however the system counts pages.
TEST(Loading, PacksBlockByBlockInATenthMoreThanTheWeightsTake) {
  const TemporaryFolder folder;
  const std::string path = folder.file("weights.safetensors");
  const std::shared_ptr<const WeightSource> file = write_weights(path, config_of_layers());
  const Quantization nf4{QuantizedFormat::nf4, false};
  for (const auto& [packing, quantization] : {std::pair<Packing, std::optional<Quantization>>{Packing::none, {}},
                                              {Packing::forward, {}},
                                              {Packing::both, {}},
                                              {Packing::none, nf4}}) {
    SCOPED_TRACE(fmt::format("packing {}, {}", static_cast<int>(packing), quantization ? "nf4" : "bf16"));
    MultimodalConfig config = config_of_layers();
    config.packing = packing;
    config.quantization = quantization;
    cpu().allocator().trim();
    cpu().allocator().reset_peak();
    const std::size_t before = cpu().allocator().total().current;
    const PurposeScope purpose(Purpose::weights);
    Multimodal model(config, DType::bf16, cpu());
    SingleCommunicator alone;
    const LoadedModel loaded =
        load_and_freeze(model, WeightLoader({bind_decoder(config.decoder, file)}, {}, 1), alone, true);
    const auto kept = static_cast<double>(cpu().allocator().total().current - before);
    EXPECT_EQ(cpu().allocator().cached(), 0U);
    EXPECT_GT(kept, quantization ? 28e6 : 100e6);
    EXPECT_LT(static_cast<double>(cpu().allocator().total().peak - before), 1.1 * kept);
    EXPECT_EQ(loaded.frozen.size(), all_parameters(model).size());
    EXPECT_EQ(loaded.shared.ranks, 1);
  }
}

}  // namespace
}  // namespace skymm
