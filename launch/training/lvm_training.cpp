#include "launch/training/lvm_training.hpp"

#include <algorithm>
#include <chrono>
#include <future>

#include "core/error.hpp"
#include "core/log.hpp"
#include "core/trace.hpp"
#include "io/weights/safetensors.hpp"
#include "launch/assembly/batches.hpp"
#include "launch/training/lvm_data.hpp"
#include "launch/training/run_log.hpp"
#include "launch/training/run_start.hpp"
#include "ops/functions/activation.hpp"
#include "parallel/zero/optimizer.hpp"

namespace skymm {
namespace {

// Both losses are means over the global batch; names teach more than pictures as a whole (docs/nano.md).
constexpr float contrastive_weight = 0.3F;
constexpr std::int64_t retrieval_group = 256;

struct LvmBatch {
  Tensor pixels;
  TextBatch english, chinese;  // captions
  Tensor patch_labels;         // i32 [B * patches]
  std::int64_t labelled = 0;   // patches with a label
};

class LvmTraining {
 public:
  LvmTraining(const TrainConfig& config, Communicator& world)
      : config_(config),
        world_(world),
        dtype_(parse_dtype(config.model.dtype)),
        vision_(vision_preset(config.model.vision)),
        tokenizer_(load_tokenizer(config.model.tokenizer)),
        images_{static_cast<int>(vision_.image)},
        train_(std::make_shared<Dataset>(config.data.train.at(0).path), images_, static_cast<int>(vision_.patch)),
        validation_(std::make_shared<Dataset>(config.data.validation.at(0).path), images_,
                    static_cast<int>(vision_.patch)),
        model_({.vision = vision_, .vocab = tokenizer_->vocab_size()}, dtype_, config.run.seed),
        order_(train_.size(), config.run.seed) {
    model_.visit("", [](const std::string&, Parameter& parameter) { parameter.trainable = true; });
    for (const std::string& name : train_.names().english) english_names_.add(encode(name));
    for (const std::string& name : train_.names().chinese) chinese_names_.add(encode(name));
    per_rank_ = config.train.global_batch / world.size();
    check(per_rank_ * world.size() == config.train.global_batch, "train.global_batch {} does not divide by {} ranks",
          config.train.global_batch, world.size());
  }

  void run();

 private:
  std::vector<std::int32_t> encode(const std::string& text) const {
    return tokenizer_->encode(text, TextPlace::middle);
  }
  LvmBatch load(const LvmData& data, const std::vector<std::int64_t>& indices, std::int64_t step, bool augmented) const;
  LvmBatch load_step(std::int64_t step) const;
  double step(const LvmBatch& batch, double labelled);
  LvmQuality measure();

  TrainConfig config_;
  Communicator& world_;
  DType dtype_;
  VisionConfig vision_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  ImageSpec images_;
  LvmData train_, validation_;
  Lvm model_;
  Permutation order_;
  TextBatch english_names_, chinese_names_;
  std::int64_t per_rank_ = 0;
};

LvmBatch LvmTraining::load(const LvmData& data, const std::vector<std::int64_t>& indices, std::int64_t step,
                           bool augmented) const {
  LvmBatch batch;
  std::vector<float> pixels;
  std::vector<std::int32_t> labels;
  for (std::size_t i = 0; i < indices.size(); ++i) {
    LvmExample example = data.read(indices[i]);
    if (augmented) {
      augment(example.pixels, images_,
              {config_.run.seed, static_cast<std::uint32_t>(step), static_cast<std::uint32_t>(indices[i]), 0});
    }
    pixels.insert(pixels.end(), example.pixels.begin(), example.pixels.end());
    labels.insert(labels.end(), example.patches.begin(), example.patches.end());
    batch.english.add(encode(example.english));
    batch.chinese.add(encode(example.chinese));
  }
  batch.labelled = std::ranges::count_if(labels, [](std::int32_t label) { return label >= 0; });
  batch.pixels = to_pixels(pixels, images_.size, dtype_);
  batch.patch_labels = Tensor::from(labels, {static_cast<std::int64_t>(labels.size())});
  return batch;
}

LvmBatch LvmTraining::load_step(std::int64_t step) const {
  std::vector<std::int64_t> indices;
  for (std::int64_t i = 0; i < per_rank_; ++i) {
    const std::int64_t place = step * config_.train.global_batch + world_.rank() * per_rank_ + i;
    indices.push_back(order_((place + place / train_.size() * 7919) % train_.size()));
  }
  return load(train_, indices, step, config_.data.augment);
}

// The contrastive loss is over the pictures of all ranks. Every rank gathers all embeddings and computes the whole loss
// (it is small); the gradient of its own rows is then exactly what one rank with the whole batch would have.
double LvmTraining::step(const LvmBatch& batch, double labelled) {
  Graph graph;
  const Variable patches = model_.patches(graph, batch.pixels);
  const std::vector<Variable> own{model_.image_embedding(patches), model_.text_embedding(graph, batch.english),
                                  model_.text_embedding(graph, batch.chinese)};
  const float scale = model_.config().scale;
  const Variable patch_embeddings = model_.patch_embedding(patches);
  const auto weight = static_cast<float>(0.5 / labelled);
  const Variable names =
      add(name_loss(patch_embeddings, model_.text_embedding(graph, english_names_), batch.patch_labels, scale, weight),
          name_loss(patch_embeddings, model_.text_embedding(graph, chinese_names_), batch.patch_labels, scale, weight));

  Graph shared;
  std::vector<Variable> gathered;
  for (const Variable& embedding : own) {
    const Tensor all = Tensor::empty({embedding.value().dim(0) * world_.size(), embedding.value().dim(1)}, dtype_);
    world_.all_gather(embedding.value().contiguous(), all);
    gathered.push_back(shared.input(all));
  }
  const float mean = contrastive_weight / (4.0F * static_cast<float>(config_.train.global_batch));
  const Variable contrast = add(contrastive_loss(gathered[0], gathered[1], scale, mean),
                                contrastive_loss(gathered[0], gathered[2], scale, mean));
  const Tensor one = Tensor::full({1}, DType::f32, 1);
  shared.backward(contrast, one);

  std::vector<Variable> outputs = own;
  std::vector<Tensor> gradients;
  for (const Variable& all : gathered) {
    gradients.push_back(
        shared.gradient(all).slice(0, world_.rank() * per_rank_, (world_.rank() + 1) * per_rank_).clone());
  }
  outputs.push_back(names);
  gradients.push_back(one);
  const double loss = names.value().item() + contrast.value().item() / world_.size();
  graph.backward(outputs, gradients);
  return loss;
}

LvmQuality LvmTraining::measure() {
  LvmQuality quality;
  double labelled = 0, pictures = 0;
  const std::int64_t groups = std::min<std::int64_t>(4, validation_.size() / retrieval_group);
  check(groups > 0, "{} canvases are too few to measure the LVM on: retrieval needs {}", validation_.size(),
        retrieval_group);
  Graph graph(Graph::Mode::inference);
  const Variable english = model_.text_embedding(graph, english_names_);
  const Variable chinese = model_.text_embedding(graph, chinese_names_);
  const auto best = [](const Variable& a, const Variable& b) {
    const Tensor scores = Tensor::empty({a.value().dim(0), b.value().dim(0)}, DType::f32);
    kernels(scores).gemm(a.value(), b.value(), scores, {.transpose_b = true});
    const Tensor column = Tensor::empty({scores.dim(0)}, DType::i32);
    kernels(scores).argmax(scores, column);
    return column.to_vector<std::int32_t>();
  };
  for (std::int64_t g = 0; g < groups; ++g) {
    std::vector<std::int64_t> indices;
    for (std::int64_t i = 0; i < retrieval_group; ++i) indices.push_back(g * retrieval_group + i);
    const LvmBatch batch = load(validation_, indices, 0, false);
    const std::vector<std::int32_t> truth = batch.patch_labels.to_vector<std::int32_t>();
    const Variable patches = model_.patches(graph, batch.pixels);
    const Variable embeddings = model_.patch_embedding(patches);
    const std::vector<std::int32_t> in_english = best(embeddings, english), in_chinese = best(embeddings, chinese);
    for (std::size_t i = 0; i < truth.size(); ++i) {
      if (truth[i] <= 0) continue;  // the ground is easy, parts of things are not counted
      labelled += 1;
      quality.patch_names_english += in_english[i] == truth[i];
      quality.patch_names_chinese += in_chinese[i] == truth[i];
    }
    const Variable images = model_.image_embedding(patches);
    const std::vector<std::int32_t> english_caption = best(images, model_.text_embedding(graph, batch.english));
    const std::vector<std::int32_t> chinese_caption = best(images, model_.text_embedding(graph, batch.chinese));
    for (std::int64_t i = 0; i < retrieval_group; ++i) {
      pictures += 1;
      quality.retrieval_english += english_caption[i] == i;
      quality.retrieval_chinese += chinese_caption[i] == i;
    }
  }
  quality.patch_names_english /= labelled;
  quality.patch_names_chinese /= labelled;
  quality.retrieval_english /= pictures;
  quality.retrieval_chinese /= pictures;
  return quality;
}

void LvmTraining::run() {
  Optimizer optimizer({trainable_parameters(model_)}, optimizer_options(config_), ZeroOptions{config_.parallel.zero},
                      world_, world_);
  RunLog log(config_, world_.rank() == 0);
  if (world_.rank() == 0) record_start(config_, world_.size());
  log::info("LVM: {} canvases, {} names in two languages, {} pictures a step over {} ranks", train_.size(),
            train_.names().size(), config_.train.global_batch, world_.size());
  std::future<LvmBatch> next = std::async(std::launch::async, [this] { return load_step(0); });
  int skipped = 0;  // in a row
  for (std::int64_t number = 0; number < config_.train.steps; ++number) {
    const auto start = std::chrono::steady_clock::now();
    const LvmBatch batch = next.get();
    next = std::async(std::launch::async, [this, number] { return load_step(number + 1); });
    const Tensor sums = Tensor::full({2}, DType::f32, static_cast<double>(batch.labelled));
    world_.all_reduce(sums);
    const double loss = step(batch, sums.to_vector()[0]);
    const Tensor total = Tensor::full({1}, DType::f32, loss);
    world_.all_reduce(total);
    const float rate = learning_rate(config_, number);
    const StepReport report = optimizer.step(rate, 1.0);
    skipped = report.skipped ? skipped + 1 : 0;
    check(skipped < config_.train.most_skipped,
          "{} steps in a row were skipped up to step {}: the gradient is not finite", skipped, number + 1);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    const bool last = number + 1 == config_.train.steps;
    log.step({.step = number + 1,
              .loss = total.item(),
              .learning_rate = rate,
              .gradient_norm = report.gradient_norm,
              .images = static_cast<double>(config_.train.global_batch),
              .seconds = seconds.count(),
              .skipped = report.skipped});
    if (last || (number + 1) % config_.train.validate_every == 0) {
      const LvmQuality quality = measure();
      log::info("step {}: patch names en {:.3f} zh {:.3f}, retrieval among {} en {:.3f} zh {:.3f}", number + 1,
                quality.patch_names_english, quality.patch_names_chinese, retrieval_group, quality.retrieval_english,
                quality.retrieval_chinese);
      log.figure(number + 1, "lvm/patch_names_english", quality.patch_names_english);
      log.figure(number + 1, "lvm/patch_names_chinese", quality.patch_names_chinese);
      log.figure(number + 1, "lvm/retrieval_english", quality.retrieval_english);
      log.figure(number + 1, "lvm/retrieval_chinese", quality.retrieval_chinese);
    }
  }
  next.wait();
  if (world_.rank() != 0) return;
  NamedTensors weights;
  model_.vision().visit("vision_model", [&](const std::string& name, Parameter& parameter) {
    weights.emplace_back(name, parameter.value.to(DType::bf16));
  });
  const std::string path = config_.run.dir + "/lvm.safetensors";
  write_safetensors(path, weights, {{"vision", config_.model.vision}});
  log::info("wrote {}", path);
}

}  // namespace

void train_lvm(const TrainConfig& config, Communicator& world) { LvmTraining(config, world).run(); }

}  // namespace skymm
