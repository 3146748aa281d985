// What loading weights costs: each byte is read once over all ranks of a pipeline, and none stays in memory beside its
// copy.
#include <fstream>
#include <string>

#include "core/memory.hpp"
#include "io/weights/safetensors.hpp"
#include "launch/pretrained.hpp"
#include "ops/models/multimodal.hpp"
#include "support/support.hpp"
#include "support/text.hpp"

namespace skymm {
namespace {

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
  load_weights(model, {part}, {}, 1);
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

}  // namespace
}  // namespace skymm
