// The data side on one core: samples a second from the index to tokens, pictures a second from JPEG to the ViT's input,
// megabytes a second of an import; beside what memory and the page cache give, which bound them.
//
//   bench_data --benchmark_filter=Text
#include <archive.h>
#include <archive_entry.h>
#include <benchmark/benchmark.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <numeric>

#include "core/host_memory.hpp"
#include "core/log.hpp"
#include "core/random.hpp"
#include "io/crc32c.hpp"
#include "io/dataset.hpp"
#include "io/dataset_source.hpp"
#include "io/file.hpp"
#include "io/hash.hpp"
#include "io/image.hpp"
#include "io/import/import.hpp"
#include "io/loader.hpp"
#include "io/manifest.hpp"
#include "io/pixels.hpp"
#include "io/prompt.hpp"
#include "io/sampler.hpp"
#include "io/shard_writer.hpp"
#include "parallel/communicator.hpp"

namespace skymm {
namespace {

namespace fs = std::filesystem;

// Goes away with the program.
class Folder {
 public:
  Folder() { fs::create_directories(path_); }
  ~Folder() { fs::remove_all(path_); }
  std::string file(const std::string& name) const { return (path_ / name).string(); }

 private:
  fs::path path_ = fs::temp_directory_path() / fmt::format("skymm_bench_{}", ::getpid());
};
const Folder& folder() {
  static const Folder made;
  return made;
}

// A photograph's like: smooth fields, edges and a little noise; about 60 KB at 640 x 480.
std::string photograph(int width, int height, int number) {
  RandomStream random(7, static_cast<std::uint64_t>(number));
  Image image(width, height);
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      const int field = (x / 80 * 37 + y / 60 * 59 + number * 11) % 120;
      const int noise = static_cast<int>(random.below(12));
      std::uint8_t* pixel = image.at(x, y);
      pixel[0] = static_cast<std::uint8_t>(field + x * 90 / width + noise);
      pixel[1] = static_cast<std::uint8_t>(120 - field + y * 100 / height + noise);
      pixel[2] = static_cast<std::uint8_t>(field / 2 + (x + y) * 60 / (width + height) + noise);
    }
  }
  return encode_jpeg(image, 85);
}

Sample text_sample(int i) {
  Sample sample{.id = std::to_string(i), .language = i % 2 ? Language::chinese : Language::english, .source = "bench"};
  sample.parts = {
      text_part(i % 2 ? "图里有几只熊猫？请用一个词回答。" : "How many pandas are there in the picture, and where?"),
      answer_part(i % 2 ? "图里有两只熊猫，一只在左边，一只在右边。"
                        : "There are two pandas, one on the left, one on the right.")};
  return sample;
}

// 1,000 shards of one file: fifty million samples.
const std::string& large_set() {
  static const std::string path = [] {
    const std::string name = folder().file("dataset.json");
    ShardWriter writer(folder().file("dataset-0.h5"));
    for (int i = 0; i < 50'000; ++i) writer.add(text_sample(i));
    const ShardEntry entry = writer.close("{}");
    Manifest manifest;
    for (int i = 0; i < 1000; ++i) {
      manifest.shards.push_back(entry);
      manifest.shards.back().file = fmt::format("dataset-{}.h5", i);
      if (i > 0) fs::create_hard_link(folder().file("dataset-0.h5"), folder().file(manifest.shards.back().file));
    }
    write_manifest(name, manifest);
    return name;
  }();
  return path;
}

void OpenFiftyMillionSamples(benchmark::State& state) {
  large_set();
  for (auto _ : state) benchmark::DoNotOptimize(Dataset(large_set()).size());
}
BENCHMARK(OpenFiftyMillionSamples)->Unit(benchmark::kMillisecond);

// The first sample of a shard that was not open: header and index are read and checked.
void FirstSampleOfAShard(benchmark::State& state) {
  auto set = std::make_unique<Dataset>(large_set());
  std::int64_t shard = 0;
  for (auto _ : state) {
    if (shard == set->shard_count()) {
      state.PauseTiming();
      set = std::make_unique<Dataset>(large_set());
      shard = 0;
      state.ResumeTiming();
    }
    benchmark::DoNotOptimize(set->read(shard++ * 50'000 + 123));
  }
}
BENCHMARK(FirstSampleOfAShard)->Unit(benchmark::kMillisecond);

// Shuffled over the whole set: permutation, index, conversation.
void ReadSamples(benchmark::State& state) {
  const Dataset set(large_set());
  const Permutation order(set.size(), 1);
  for (std::int64_t i = 0; i < set.shard_count(); ++i) set.language(i * 50'000);  // opened before
  std::int64_t place = 0;
  for (auto _ : state) benchmark::DoNotOptimize(set.read(order(place++)));
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(ReadSamples);

PromptBuilder prompts_of(const char* name) {
  const std::string model = SKYMM_SOURCE_DIR "/launch/recipes/nano/tokenizer.model";
  return {load_tokenizer(model), chat_template(name), {.visual_tokens = 64, .max_tokens = 512}};
}

// The same, and its tokens; vicuna_v1 has a system text of 160 characters.
void TextSamples(benchmark::State& state, const char* name) {
  const Dataset set(large_set());
  const PromptBuilder prompts = prompts_of(name);
  const Permutation order(set.size(), 1);
  for (std::int64_t i = 0; i < set.shard_count(); ++i) set.language(i * 50'000);  // opened before
  std::int64_t place = 0, tokens = 0;
  for (auto _ : state) tokens += std::ssize(prompts.tokenize(set.read(order(place++))).tokens);
  state.SetItemsProcessed(state.iterations());
  state.counters["tokens"] = static_cast<double>(tokens) / static_cast<double>(state.iterations());
}
BENCHMARK_CAPTURE(TextSamples, nano, "nano");
BENCHMARK_CAPTURE(TextSamples, vicuna_v1, "vicuna_v1");

void JpegToPixels(benchmark::State& state) {
  const std::string jpeg = photograph(static_cast<int>(state.range(0)), static_cast<int>(state.range(0)) * 3 / 4, 1);
  const ImageSpec spec{.size = 336, .fast_jpeg = state.range(1) != 0};
  for (auto _ : state) benchmark::DoNotOptimize(load_pixels(jpeg, spec));
  state.SetItemsProcessed(state.iterations());
  state.counters["KB"] = static_cast<double>(jpeg.size()) / 1e3;
}
BENCHMARK(JpegToPixels)
    ->ArgNames({"width", "fast"})
    ->Args({640, 0})
    ->Args({640, 1})
    ->Args({1600, 0})
    ->Args({1600, 1})
    ->Unit(benchmark::kMillisecond);

// Its parts.
void JpegDecode(benchmark::State& state) {
  const std::string jpeg = photograph(640, 480, 1);
  for (auto _ : state) benchmark::DoNotOptimize(decode_image_reduced(jpeg, static_cast<int>(state.range(0))));
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(JpegDecode)->ArgName("least_side")->Arg(0)->Arg(1)->Unit(benchmark::kMillisecond);

void Resize(benchmark::State& state) {
  const Image image = decode_image(photograph(640, 480, 1));
  for (auto _ : state) benchmark::DoNotOptimize(resize_bicubic(image, 448, 336));
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(Resize)->Unit(benchmark::kMillisecond);

// A data set through the loader, one thread: read, decode, resize, normalise, tokenize. SKYMM_BENCH_SET names the set
// (bench/peers/data_pytorch.py compares PyTorch's loader on the same pictures).
void LoadSet(benchmark::State& state) {
  const char* named = std::getenv("SKYMM_BENCH_SET");
  const std::string path = named ? named : folder().file("pictures.h5");
  if (!named && !fs::exists(path)) {
    DatasetWriter writer(path);
    for (int i = 0; i < 200; ++i) {
      Sample sample{.id = std::to_string(i), .images = {photograph(640, 480, i)}, .source = "bench"};
      sample.parts = {image_part(0), answer_part("Two pandas on a meadow.")};
      writer.add(sample);
    }
    writer.close();
  }
  const auto source = std::make_shared<DatasetSource>(std::make_shared<Dataset>(path));
  const auto mixture =
      std::make_shared<Mixture>(std::vector<std::shared_ptr<const SampleSource>>{source}, MixtureOptions{.seed = 1});
  Loader loader(mixture, prompts_of("vicuna_v1"), {.size = 336, .fast_jpeg = state.range(0) != 0},
                {.global_batch = 16, .micro_batch = 16, .augment = false, .prefetch = 1});
  std::int64_t images = 0;
  for (auto _ : state) images += loader.next().counts.images;
  state.SetItemsProcessed(images);
}
BENCHMARK(LoadSet)->ArgName("fast")->Arg(0)->Arg(1)->Unit(benchmark::kMillisecond)->UseRealTime();

// How much longer the slowest rank, and the slowest of a rank's micro-batches, works than the mean, for text and
// pictures as instruction sets have them: log-normal lengths, now and then several pictures.
void BalanceOverRanks(benchmark::State& state) {
  constexpr std::int64_t ranks = 8, micro_batches = 4, micro_batch = 8, steps = 100;
  const auto balance = static_cast<Balance>(state.range(0));
  const auto excess = [](const std::vector<double>& costs) {
    const double all = std::accumulate(costs.begin(), costs.end(), 0.0);
    return 100 * (*std::max_element(costs.begin(), costs.end()) * static_cast<double>(costs.size()) / all - 1);
  };
  double of_ranks = 0, of_batches = 0;
  for (auto _ : state) {
    RandomStream random(3);
    of_ranks = of_batches = 0;
    for (std::int64_t step = 0; step < steps; ++step) {
      std::vector<std::int64_t> costs;
      for (std::int64_t i = 0; i < ranks * micro_batches * micro_batch; ++i) {
        double bell = -6;  // a sum of twelve even draws is nearly normal
        for (int k = 0; k < 12; ++k) bell += random.below(1 << 20) / static_cast<double>(1 << 20);
        const std::int64_t pictures = random.below(10) == 0 ? 3 : random.below(4) == 0 ? 0 : 1;
        costs.push_back(64 * pictures + static_cast<std::int64_t>(std::min(90 * std::exp(bell), 2000.0)));
      }
      std::vector<double> rank_costs(ranks), batch_costs;
      const auto bins = deal(costs, ranks * micro_batches, balance);
      for (std::size_t bin = 0; bin < bins.size(); ++bin) {
        double cost = 0;
        for (const std::int32_t item : bins[bin]) cost += static_cast<double>(costs[static_cast<std::size_t>(item)]);
        rank_costs[bin % ranks] += cost;
        batch_costs.push_back(cost);
      }
      of_ranks += excess(rank_costs) / steps;
      of_batches += excess(batch_costs) / steps;
    }
  }
  state.counters["rank_excess_%"] = of_ranks;
  state.counters["micro_batch_excess_%"] = of_batches;
}
BENCHMARK(BalanceOverRanks)
    ->ArgName("balance")
    ->Arg(static_cast<int>(Balance::none))
    ->Arg(static_cast<int>(Balance::samples))
    ->Arg(static_cast<int>(Balance::cost))
    ->Unit(benchmark::kMillisecond);

void ImportTar(benchmark::State& state) {
  const std::string tar = folder().file("pairs.tar");
  if (!fs::exists(tar)) {
    archive* out = archive_write_new();
    archive_write_set_format_ustar(out);
    archive_write_open_filename(out, tar.c_str());
    const auto add = [&](const std::string& name, const std::string& bytes) {
      archive_entry* entry = archive_entry_new();
      archive_entry_set_pathname(entry, name.c_str());
      archive_entry_set_size(entry, static_cast<la_int64_t>(bytes.size()));
      archive_entry_set_filetype(entry, AE_IFREG);
      archive_entry_set_perm(entry, 0644);
      archive_write_header(out, entry);
      archive_write_data(out, bytes.data(), bytes.size());
      archive_entry_free(entry);
    };
    for (int i = 0; i < 1000; ++i) {
      add(fmt::format("{:05}.jpg", i), photograph(640, 480, i % 50));
      add(fmt::format("{:05}.txt", i), "Two pandas on a meadow, one to the left of the other.");
    }
    archive_write_close(out);
    archive_write_free(out);
  }
  ImportOptions options;
  options.format = "webdataset";
  options.inputs = {tar};
  options.out = folder().file("imported");
  options.check = state.range(0) ? PictureCheck::decode : PictureCheck::scan;
  SingleCommunicator alone;
  for (auto _ : state) {
    import_dataset(options, alone);
    state.PauseTiming();
    fs::remove_all(options.out);
    state.ResumeTiming();
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(fs::file_size(tar)));
}
BENCHMARK(ImportTar)->ArgName("decode")->Arg(0)->Arg(1)->Unit(benchmark::kMillisecond)->UseRealTime();

// What bounds an import: the same bytes copied, and written to a file and brought to disk.
void MemoryCopy(benchmark::State& state) {
  const std::string from(std::size_t{64} << 20, 'x');
  std::string to = from;
  for (auto _ : state) {
    std::memcpy(to.data(), from.data(), from.size());
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * std::ssize(from));
}
BENCHMARK(MemoryCopy);

void WriteAndSync(benchmark::State& state) {
  const std::string bytes(std::size_t{64} << 20, 'x');
  for (auto _ : state) write_file(folder().file("written"), bytes);
  state.SetBytesProcessed(state.iterations() * std::ssize(bytes));
}
BENCHMARK(WriteAndSync)->UseRealTime();

void Checksum(benchmark::State& state) {
  const std::string bytes(std::size_t{8} << 20, 'x');
  for (auto _ : state) benchmark::DoNotOptimize(state.range(0) ? hash64(bytes.data(), bytes.size()) : crc32c(bytes));
  state.SetBytesProcessed(state.iterations() * std::ssize(bytes));
}
BENCHMARK(Checksum)->ArgName("xxh64")->Arg(0)->Arg(1);

}  // namespace
}  // namespace skymm

int main(int argc, char** argv) {
  skymm::set_log_level(skymm::LogLevel::warn);
  skymm::keep_freed_memory();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
