// Ranks of a node that hold the same frozen weights have one copy of them: in memory, read once, with the numbers of
// copies of their own.
#include <malloc.h>
#include <sys/resource.h>

#include <cmath>
#include <csignal>
#include <filesystem>
#include <fstream>

#include "core/error.hpp"
#include "core/log.hpp"
#include "io/weights/safetensors.hpp"
#include "launch/assembly/model_loading.hpp"
#include "launch/training/ranks_report.hpp"
#include "parallel/gather_text.hpp"
#include "parallel/shared_memory.hpp"
#include "support/models.hpp"
#include "support/mpi_main.hpp"
#include "support/shared_folder.hpp"

namespace skymm::testing {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;

double sum_over_ranks(double value) {
  const Tensor x = Tensor::from(std::vector{value}, {1});
  ranks().all_reduce(x);
  return x.item();
}

// A file of random weights for a model.
class WeightFile {
 public:
  explicit WeightFile(const MultimodalConfig& config) {
    if (ranks().rank() == 0) {
      Multimodal model(config, DType::bf16, cpu());
      std::vector<PlannedTensor> tensors;
      for (const NamedParameter& entry : all_parameters(model)) {
        if (entry.parameter->trainable) continue;
        const auto make = [shape = entry.parameter->shape, seed = stable_hash(entry.name)] {
          return random_tensor(shape, DType::bf16, seed, 0.03);
        };
        tensors.push_back({entry.name, DType::bf16, entry.parameter->shape, make});
      }
      stream_safetensors(path_, tensors);
    }
    ranks().barrier();
  }

  const std::string& path() const { return path_; }
  std::uint64_t payload() const {
    std::uint64_t bytes = 0;
    const std::unique_ptr<WeightSource> file = open_weights(path_);
    for (const WeightEntry& entry : file->entries()) bytes += entry.end - entry.begin;
    return bytes;
  }

 private:
  const SharedFolder folder_;
  const std::string path_ = folder_.file("weights.safetensors");
};

struct Form {
  const char* name;
  Packing packing;
  std::optional<Quantization> quantization = {};
  DType dtype = DType::bf16;
};
const std::vector<Form> forms{{"plain", Packing::none},
                              {"packed", Packing::forward},
                              {"packed twice", Packing::both},
                              {"packed f32", Packing::both, {}, DType::f32},
                              {"int8", Packing::both, Quantization{QuantizedFormat::int8, false}},
                              {"nf4", Packing::both, Quantization{QuantizedFormat::nf4, false}},
                              {"nf4 double", Packing::both, Quantization{QuantizedFormat::nf4, true}}};

std::unique_ptr<Multimodal> load_model(MultimodalConfig config, const Form& form, const std::string& path,
                                       Communicator& replicas, bool share, LoadedModel& loaded) {
  config.packing = form.packing;
  config.quantization = form.quantization;
  const PurposeScope purpose(Purpose::weights);
  auto model = std::make_unique<Multimodal>(config, form.dtype, cpu());
  loaded = load_and_freeze(*model, WeightLoader({}, {path}, 1), replicas, share);
  return model;
}

MultimodalConfig small_config(bool tied) {
  MultimodalConfig config;
  config.vision = vision_preset("vit-pico");
  config.decoder = decoder_preset("pico");
  config.decoder.tied = tied;
  config.resampler = {.kind = ResamplerKind::qwen, .queries = 4, .heads = 2};
  config.lora = {.rank = 4, .alpha = 8, .dropout = 0.1F};
  return config;
}

TEST(SharedWeights, GiveTheBitsOfPrivateOnesInEveryForm) {
  for (const bool tied : {false, true}) {
    const MultimodalConfig config = small_config(tied);
    const WeightFile file(config);
    for (const Form& form : forms) {
      SCOPED_TRACE(fmt::format("{}{}", form.name, tied ? ", tied" : ""));
      LoadedModel apart, together;
      const auto own = load_model(config, form, file.path(), ranks(), false, apart);
      const auto shared = load_model(config, form, file.path(), ranks(), true, together);
      EXPECT_EQ(apart.shared.ranks, 1);
      EXPECT_EQ(together.shared.ranks, ranks().size());
      EXPECT_EQ(together.frozen, apart.frozen);
      for (const NamedParameter& entry : all_parameters(*shared)) {
        const Tensor& value = entry.parameter->value;
        if (value.defined()) {
          EXPECT_EQ(value.storage().is_in_weight_memory(), !entry.parameter->trainable) << entry.name;
        }
      }
      const Batch batch = batch_of(config, {{0, 10, true}, {1, 7, false}}, form.dtype);
      const Result expected = run(*own, batch);
      EXPECT_FALSE(expected.gradients.empty());
      EXPECT_EQ(run(*shared, batch), expected);
    }
  }
}

// 64 MB in bf16, in blocks of a fiftieth.
MultimodalConfig large_config() {
  MultimodalConfig config;
  config.decoder = {2048, 256, 40, 4, 4, 64, 704, 1e-5F, 1e4F, false};
  return config;
}

double kibibytes_of(const char* key) {  // of /proc/self/smaps_rollup
  std::ifstream rollup("/proc/self/smaps_rollup");
  for (std::string line; std::getline(rollup, line);) {
    if (line.starts_with(fmt::format("{}:", key))) return std::stod(line.substr(line.find(':') + 1));
  }
  return 0;
}

struct Cost {
  double memory = 0;  // proportional set sizes of all ranks, bytes
  double read = 0;    // of the file by all ranks, bytes
  double shared = 0;  // bytes
  double booked = 0;  // the most bytes of weights in the books of this rank's allocator
};

// What loading and using the model adds on all ranks together.
Cost cost_of(const MultimodalConfig& config, const Form& form, const std::string& path, bool share) {
  MultimodalConfig own = config;
  own.packing = form.packing;
  own.quantization = form.quantization;
  const Batch batch = batch_of(config, {{0, 8, false}}, DType::bf16);
  cpu().allocator().trim();
  ranks().barrier();
  ::malloc_trim(0);  // small blocks, which are malloc's
  const double before = kibibytes_of("Pss");
  const std::size_t booked = cpu().allocator().use(Purpose::weights).current;
  cpu().allocator().reset_peak();
  ranks().barrier();
  const PurposeScope purpose(Purpose::weights);
  Multimodal model(own, DType::bf16, cpu());
  const std::shared_ptr<const WeightSource> file = open_weights(path);
  const LoadedModel loaded =
      load_and_freeze(model, WeightLoader({bind_decoder(config.decoder, file)}, {}, 1), ranks(), share);
  {
    Graph graph(Graph::Mode::inference);
    check(std::isfinite(model.loss(graph, batch).value().item()), "the loss is not finite");
  }
  cpu().allocator().trim();
  ranks().barrier();
  ::malloc_trim(0);
  ranks().barrier();
  const Cost cost{sum_over_ranks(1024 * (kibibytes_of("Pss") - before)),
                  sum_over_ranks(static_cast<double>(file->bytes_read())), static_cast<double>(loaded.shared.bytes),
                  static_cast<double>(cpu().allocator().use(Purpose::weights).peak - booked)};
  ranks().barrier();
  return cost;
}

TEST(SharedWeights, AreInMemoryOnceAndReadOnce) {
  const MultimodalConfig config = large_config();
  const WeightFile file(config);
  const auto payload = static_cast<double>(file.payload());
  ASSERT_GT(payload, 60e6);
  for (const std::size_t form : {0, 1, 2, 5}) {
    SCOPED_TRACE(forms[form].name);
    cost_of(config, forms[form], file.path(), true);  // what is taken once for all
    const Cost together = cost_of(config, forms[form], file.path(), true);
    const Cost apart = cost_of(config, forms[form], file.path(), false);
    EXPECT_EQ(together.read, payload);
    EXPECT_EQ(apart.read, payload * ranks().size());
    EXPECT_EQ(apart.shared, 0);
    EXPECT_GT(together.shared, 0.28 * payload);  // nf4 has 4.5 of 16 bits
    EXPECT_LT(together.booked, 0.1 * payload) << "what is shared is in no rank's books";
    EXPECT_GT(apart.booked, 0.28 * payload);
#ifndef __SANITIZE_ADDRESS__  // which needs memory of its own
    // What the other ranks do not have, but for a fifth; beside it each has what computing needs.
    EXPECT_LT(together.memory, apart.memory - 0.8 * together.shared * (ranks().size() - 1));
#endif
  }
}

// Where the system refuses, each rank has its own.
TEST(SharedWeights, AreCopiesWhereMemoryCannotBeShared) {
  const MultimodalConfig config = small_config(false);
  const WeightFile file(config);
  struct rlimit limit {};
  ::getrlimit(RLIMIT_FSIZE, &limit);
  struct rlimit none = limit;
  none.rlim_cur = 1 << 20;
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  ::testing::internal::CaptureStderr();
  LoadedModel loaded, expected;
  if (ranks().rank() == 0) ::setrlimit(RLIMIT_FSIZE, &none);  // the file that is shared is one of the first rank
  const auto model = load_model(config, forms[2], file.path(), ranks(), true, loaded);
  ::setrlimit(RLIMIT_FSIZE, &limit);
  std::signal(SIGXFSZ, handler);
  const std::string said = ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(loaded.shared.ranks, 1);
  if (ranks().rank() == 0) {
    EXPECT_THAT(said, HasSubstr("cannot share memory (its size: File too large)"));
  }
  const auto own = load_model(config, forms[2], file.path(), ranks(), false, expected);
  EXPECT_EQ(loaded.frozen, expected.frozen);
  const Batch batch = batch_of(config, {{0, 10, true}}, DType::bf16);
  EXPECT_EQ(run(*model, batch), run(*own, batch));
}

TEST(SharedWeights, HaveNoVitWhereItsFeaturesAreGiven) {
  MultimodalConfig config = small_config(false);
  const WeightFile file(config);
  for (const bool share : {false, true}) {
    LoadedModel seeing, given;
    const auto whole = load_model(config, forms[0], file.path(), ranks(), share, seeing);
    std::size_t vision = 0;
    for (const NamedParameter& entry : all_parameters(*whole)) {
      if (entry.name.starts_with("vision_model.")) vision += entry.parameter->value.bytes();
    }
    ASSERT_GT(vision, 0U);
    MultimodalConfig without = config;
    without.features = true;
    const auto booked = [] { return cpu().allocator().use(Purpose::weights).current; };
    const std::size_t before = booked();
    const auto model = load_model(without, forms[0], file.path(), ranks(), share, given);
    EXPECT_EQ(given.frozen, seeing.frozen);
    if (share) {
      EXPECT_LE(given.shared.bytes + vision, seeing.shared.bytes);
    } else {
      const std::size_t kept = booked() - before;
      const auto again = load_model(config, forms[0], file.path(), ranks(), share, seeing);
      EXPECT_LE(kept + vision, booked() - before - kept);
    }
  }
}

TEST(SharedWeights, AreNoneWhereEverythingTrains) {
  MultimodalConfig config = small_config(false);
  config.vision.reset();
  config.lora.rank = 0;
  config.trainable.decoder = true;
  Multimodal model(config, DType::f32, cpu());
  EXPECT_EQ(load_and_freeze(model, WeightLoader({}, {}, 1), ranks(), true).shared.ranks, 1);
}

TEST(SharedWeights, OfTwoNodesAreTwoCopies) {
  const MultimodalConfig config = small_config(false);
  const WeightFile file(config);
  const std::unique_ptr<Communicator> node = split_by_node(ranks(), ranks().rank() % 2 == 0 ? "even" : "odd");
  LoadedModel loaded;
  const auto model = load_model(config, forms[1], file.path(), *node, true, loaded);
  EXPECT_EQ(loaded.shared.ranks, node->size());
  const std::string table = memory_table(ranks(), loaded.shared);
  const int even = (ranks().size() + 1) / 2;  // rank 0's, the first of those that hold most
  if (even > 1) {
    EXPECT_THAT(table, ContainsRegex(fmt::format("shared +[0-9.]+ +0  one copy of frozen weights for {} ranks", even)));
  }
}

}  // namespace
}  // namespace skymm::testing

int main(int argc, char** argv) { return skymm::testing::run_mpi_tests(argc, argv); }
