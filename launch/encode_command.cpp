#include "launch/encode_command.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>

#include "core/error.hpp"
#include "core/log.hpp"
#include "io/file.hpp"
#include "launch/assembly/batches.hpp"
#include "launch/assembly/features.hpp"
#include "launch/assembly/pretrained.hpp"
#include "parallel/communicator.hpp"
#include "parallel/watchdog.hpp"

namespace skymm {
namespace {

// The ViT of the recipe and nothing else of its model.
Assembly assemble_vision(TrainConfig config, Communicator& ranks) {
  config.data.features = false;
  SingleCommunicator alone;
  const std::shared_ptr<const Tokenizer> tokenizer = load_tokenizer(tokenizer_path(config.model));
  const MultimodalConfig model = model_config(config, tokenizer->vocab_size());
  check(model.vision.has_value(), "model.vision is none: there is nothing to encode pictures with");
  check(!model.trainable.vision,
        "features of a ViT that trains change with every step; leave vision out of model.train");
  return assemble(config, tokenizer, {{0, first_block(model, BlockKind::resampler)}}, alone, ranks);
}

struct Decoded {
  std::int64_t number = 0;
  std::vector<float> pixels;
  std::string problem;  // why it has no pixels
};

std::vector<Decoded> decode(const Dataset& dataset, std::int64_t begin, std::int64_t end, const ImageSpec& images) {
  std::vector<Decoded> pictures(static_cast<std::size_t>(end - begin));
#pragma omp parallel for schedule(dynamic)
  for (std::int64_t i = begin; i < end; ++i) {
    Decoded& picture = pictures[static_cast<std::size_t>(i - begin)];
    picture.number = i;
    try {
      picture.pixels = load_pixels(dataset.read_image(i), images);
    } catch (const Error& error) {
      picture.problem = fmt::format("picture {} of {} has no features: {}", i, dataset.path(), error.message());
    }
  }
  return pictures;
}

// Encodes data sets, one after the other.
class Encoder {
 public:
  Encoder(const TrainConfig& config, Communicator& ranks)
      : config_(config), ranks_(ranks), assembly_(assemble_vision(config, ranks)) {}

  void encode(const std::string& path) {
    const Dataset dataset(path);
    if (dataset.image_count() == 0) return log::info("{} has no pictures", path);
    const FeatureInfo info = feature_info(dataset, config_, assembly_);
    const std::string target = features_path(dataset.path()), temporary = target + ".tmp";
    if (agree(ranks_.rank() == 0 && is_there(target, info))) return log::info("{} is there and fits", target);
    if (ranks_.rank() == 0) create_features(temporary, info);
    ranks_.barrier();
    const auto start = std::chrono::steady_clock::now();
    Features features(temporary, Features::Access::write);
    const Tensor left_out = Tensor::full({1}, DType::f64, static_cast<double>(encode_share(dataset, features)));
    features.sync();
    ranks_.all_reduce(left_out);  // and so all are on disk
    if (ranks_.rank() == 0) rename_file(temporary, target);
    ranks_.barrier();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    log::info("{}: {} pictures, {:.0f} that cannot be decoded, {:.1f} MiB, {:.1f} pictures/s", target, info.pictures,
              left_out.item(), static_cast<double>(info.pictures * info.picture_bytes()) / (1024.0 * 1024.0),
              static_cast<double>(info.pictures) / seconds);
  }

 private:
  static bool is_there(const std::string& path, const FeatureInfo& info) {
    if (!std::filesystem::exists(path)) return false;
    try {
      return feature_differences(Features(path).info(), info).empty();
    } catch (const Error& error) {
      log::warn("{}; it is made anew", error.message());
      return false;
    }
  }

  // As rank 0 says.
  bool agree(bool mine) {
    const Tensor flag = Tensor::full({1}, DType::f64, mine ? 1 : 0);
    ranks_.broadcast(flag, 0);
    return flag.item() != 0;
  }

  // Returns how many pictures have no features.
  std::int64_t encode_share(const Dataset& dataset, Features& features) {
    const std::int64_t all = dataset.image_count(), rank = ranks_.rank(), ranks = ranks_.size();
    const std::int64_t begin = all * rank / ranks, end = all * (rank + 1) / ranks, batch = config_.train.micro_batch;
    std::int64_t left_out = 0, told = 0;
    for (std::int64_t first = begin; first < end; first += batch) {
      const std::int64_t last = std::min(end, first + batch);
      left_out += encode_batch(decode(dataset, first, last, assembly_.images), features);
      const std::int64_t tenths = 10 * (last - begin) / (end - begin);
      if (tenths > told) log::info("{}: {} %", dataset.path(), 10 * tenths);
      told = tenths;
    }
    return left_out;
  }

  std::int64_t encode_batch(const std::vector<Decoded>& pictures, Features& features) {
    std::vector<float> pixels;
    std::vector<std::int64_t> numbers;
    for (const Decoded& picture : pictures) {
      if (!picture.problem.empty()) {
        log::warn("{}", picture.problem);
        continue;
      }
      pixels.insert(pixels.end(), picture.pixels.begin(), picture.pixels.end());
      numbers.push_back(picture.number);
    }
    if (numbers.empty()) return std::ssize(pictures);
    const Tensor values =
        assembly_.model
            ->features(to_pixels(pixels, assembly_.images.size, assembly_.model->dtype()).to(assembly_.model->device()))
            .to(cpu());
    current_stream(cpu()).synchronize();
    const auto bytes = static_cast<std::size_t>(features.info().picture_bytes());
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      features.write(numbers[i], {static_cast<const char*>(values.raw()) + i * bytes, bytes});
    }
    return std::ssize(pictures) - std::ssize(numbers);
  }

  const TrainConfig& config_;
  Communicator& ranks_;
  Assembly assembly_;
};

}  // namespace

void encode_pictures(const TrainConfig& config, Communicator& ranks) {
  std::vector<std::string> paths;
  for (const std::vector<SourceConfig>& sources : {config.data.train, config.data.validation}) {
    for (const SourceConfig& source : sources) {
      if (std::ranges::find(paths, source.path) == paths.end()) paths.push_back(source.path);
    }
  }
  Encoder encoder(config, ranks);
  for (const std::string& path : paths) encoder.encode(path);
}

int encode_command(const std::vector<std::string>& arguments) {
  const std::optional<TrainConfig> config = parse_config(arguments);
  if (!config) {
    std::fputs(
        "skymm data encode --config RECIPE.ini [--section.name VALUE ...]\n\n"
        "Runs the frozen ViT of a recipe once over each picture of its data sets (data.train and data.validation) and\n"
        "keeps what comes out beside each of them: train.h5 gets train.features.h5. With data.features true training\n"
        "reads that and needs no ViT. Under mpirun each rank takes its share of the pictures. Options are those of\n"
        "skymm train; train.micro_batch pictures are encoded at a time.\n\n"
        "  mpirun -n 4 skymm data encode --config recipe.ini\n"
        "  mpirun -n 4 skymm train --config recipe.ini --data.features true --data.augment false\n",
        stdout);
    return 0;
  }
  const std::unique_ptr<Communicator> ranks = world();
  apply_process_options(config->run);
  const UnlimitedWaits waits;  // who is done waits for who has more to decode, however long that takes
  encode_pictures(*config, *ranks);
  return 0;
}

}  // namespace skymm
