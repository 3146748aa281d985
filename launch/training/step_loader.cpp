#include "launch/training/step_loader.hpp"

#include <sstream>
#include <unordered_set>
#include <utility>

#include "io/dataset_source.hpp"
#include "io/file.hpp"
#include "launch/assembly/batches.hpp"
#include "launch/assembly/features.hpp"
#include "launch/config/options.hpp"
#include "ops/models/cost.hpp"
#include "parallel/pipeline/batches.hpp"

namespace skymm {
namespace {

// An id a line; lines that begin with '#' are comments.
std::unordered_set<std::string> read_quarantine(const std::string& path) {
  std::unordered_set<std::string> ids;
  if (path.empty()) return ids;
  std::istringstream lines(read_file(path));
  for (std::string line; std::getline(lines, line);) {
    if (const std::string_view id = trimmed(line); !id.empty() && !id.starts_with('#')) ids.emplace(id);
  }
  return ids;
}

Balance parse_balance(std::string_view name) {
  if (name == "cost") return Balance::cost;
  return name == "none" ? Balance::none : Balance::samples;
}

// What the ViT and the resampler do for a picture, in tokens of the decoder.
double image_cost(const MultimodalConfig& model) {
  if (!model.vision) return 0;
  const double image = step_cost(model, {.images = 1, .resampled = 1}).total();
  return image / step_cost(model, {.tokens = 1, .mean_length = 1}).total();
}

std::shared_ptr<const Mixture> make_mixture(const TrainConfig& config, const Assembly& assembly, bool training) {
  std::vector<std::shared_ptr<const SampleSource>> sources;
  MixtureOptions mixture{.seed = config.run.seed, .shuffle = training};
  for (const SourceConfig& source : training ? config.data.train : config.data.validation) {
    const auto dataset = std::make_shared<const Dataset>(source.path);
    const auto features = config.data.features ? open_features(*dataset, config, assembly) : nullptr;
    sources.push_back(std::make_shared<DatasetSource>(dataset, dataset->size(), features));
    const double epochs_weight = source.epochs * static_cast<double>(dataset->size());
    if (training) mixture.source_weights.push_back(source.epochs > 0 ? epochs_weight : source.weight);
  }
  if (training) {
    mixture.language_weights = {1, config.data.english_weight, config.data.chinese_weight};
    mixture.temperature = config.data.temperature;
  }
  return std::make_shared<Mixture>(std::move(sources), mixture);
}

std::unique_ptr<Loader> make_loader(const TrainConfig& config, const Assembly& assembly, const Grid& grid,
                                    std::shared_ptr<const Mixture> mixture, bool training) {
  LoaderOptions options;
  options.global_batch = config.train.global_batch;
  options.micro_batch = config.train.micro_batch;
  options.rank = grid.place().data;
  options.ranks = grid.shape().data;
  options.seed = config.run.seed;
  options.augment = training && config.data.augment;
  options.wrap = training;
  options.negative_share = training ? config.data.negatives : 1.0;
  options.max_bad_share = config.data.max_bad_share;
  options.threads = config.data.workers;
  if (training) options.quarantine = read_quarantine(config.data.quarantine);
  options.balance = parse_balance(config.data.balance);
  options.image_cost = image_cost(assembly.model->config());
  PixelReader read = load_pixels;
  if (config.data.features) {
    read = [dtype = assembly.model->dtype()](std::string_view bytes, const ImageSpec&) {
      return to_floats(bytes, dtype);
    };
  }
  return std::make_unique<Loader>(std::move(mixture), assembly.prompts(config), assembly.images, options, read);
}

// [images * patches, width]
Tensor to_features(const std::vector<float>& values, const Multimodal& model) {
  const std::int64_t width = model.config().vision->width;
  return Tensor::from(values, {std::ssize(values) / width, width}).to(model.dtype());
}

double useful_gflop(const MultimodalConfig& model, const std::vector<MicroBatch>& batches) {
  StepCounts counts;
  double squares = 0;
  for (const MicroBatch& batch : batches) {
    if (batch.label_rows.empty()) continue;  // not computed
    counts.tokens += static_cast<std::int64_t>(batch.tokens.size());
    counts.labels += static_cast<std::int64_t>(batch.label_rows.size());
    counts.images += batch.counts.images;
    for (std::size_t s = 1; s < batch.sequence_offsets.size(); ++s) {
      const double length = batch.sequence_offsets[s] - batch.sequence_offsets[s - 1];
      squares += length * length;
    }
  }
  if (counts.tokens == 0) return 0;
  counts.resampled = counts.images;
  counts.mean_length = squares / static_cast<double>(counts.tokens);
  return 1e-9 * step_cost(model, counts).total();
}

}  // namespace

StepLoader::StepLoader(const TrainConfig& config, const Assembly& assembly, const Grid& grid, bool training)
    : config_(config), model_(*assembly.model), pipeline_(grid.pipeline()), training_(training) {
  if (grid.first_stage()) {
    mixture_ = make_mixture(config, assembly, training);
    loader_ = make_loader(config, assembly, grid, mixture_, training);
  }
  const Tensor steps = Tensor::from(std::vector<std::int64_t>{loader_ ? loader_->steps_per_pass() : 0}, {1});
  pipeline_.broadcast(steps, 0);
  steps_per_pass_ = steps.to_vector<std::int64_t>()[0];
}

StepData StepLoader::next() {
  StepData data;
  if (loader_) {
    const double waited_before = loader_->waited_seconds();
    MicroBatches loaded = loader_->next();
    std::vector<std::vector<float>> pictures;
    for (MicroBatch& batch : loaded.micro_batches) {
      pictures.push_back(std::exchange(batch.pixels, {}));
      data.batches.push_back(to_batch(batch, 0, model_.dtype(), config_.run.seed, loaded.step, training_));
      data.samples.push_back({batch.ids, batch.holes, batch.counts.label_tokens});
    }
    data.pictures = [this, pictures = std::move(pictures)](std::size_t i, Batch& batch) mutable {
      const std::vector<float> values = std::exchange(pictures[i], {});
      if (config_.data.features) {
        batch.features = to_features(values, model_);
      } else {
        batch.pixels = to_pixels(values, static_cast<int>(model_.config().vision->image), model_.dtype());
      }
    };
    data.counts = loaded.counts;
    data.bad_samples = loader_->totals().bad();
    data.cut = loader_->totals().turns_cut + loader_->totals().answers_cut;
    data.gflop = useful_gflop(model_.config(), loaded.micro_batches);
    data.waited_seconds = loader_->waited_seconds() - waited_before;
  }
  data.batches = share_batches(pipeline_, std::move(data.batches));
  return data;
}

void StepLoader::seek(std::int64_t step, std::int64_t place) {
  if (loader_) loader_->seek(step, place);
}

}  // namespace skymm
