#include "launch/plan_command.hpp"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <limits>

#include "core/log.hpp"
#include "io/file.hpp"
#include "launch/assembly/assembly.hpp"
#include "launch/assembly/layout.hpp"
#include "launch/assembly/pretrained.hpp"
#include "launch/config/config.hpp"
#include "launch/config/options.hpp"
#include "launch/report/schedule_drawing.hpp"
#include "launch/training/peak.hpp"
#include "parallel/pipeline/plan.hpp"

namespace skymm {
namespace {

const std::vector<Flag>& plan_flags() {
  static const std::vector<Flag> flags = {
      {"config", "RECIPE.ini", "the recipe to plan for"},
      {"ranks", "N", "of the job (default 1)"},
      {"ranks-per-node", "N",
       "that share frozen weights where they hold the same and compute on the cpu, unless run.share_frozen is off; "
       "default 1: none do"},
      {"memory", "SIZE", "of a rank, such as 80G or 512M (default: parallel.memory; without it everything fits)"},
      {"tokens", "N", "of a typical sample, visual ones too (default: data.max_length, the longest)"},
      {"labels", "N", "tokens of it that are learned (default: half of those that are not visual)"},
      {"gflops", "X", "that a rank does in a second (default: this machine's measured GEMM peak)"},
      {"bandwidth", "GB/S", "from rank to rank (default 10)"},
      {"cuts", "LIST",
       "blocks where pieces begin, such as resampler,layers.8,head, on grids with as many (default: parallel.cuts; "
       "none: balanced)"},
      {"most", "N", "plans to list (default 12)"},
      {"draw", "FILE.svg", "write the picture there"},
      {"schedule", "NAME", "gpipe, 1f1b (default), interleaved or zero-bubble"},
      {"stages", "N", "parts of the model, one a rank of the pipeline (default 4)"},
      {"micro-batches", "N", "that pass through the pipeline in a step (default 8)"},
      {"chunks", "N", "pieces of the model on each stage, for interleaved (default 1)"},
      {"forward", "TIME", "of a whole stage's forward on one micro-batch, in any unit (default 1)"},
      {"backward", "TIME", "of its backward, weight gradients included (default 1: as of a frozen language model)"},
      {"weight", "TIME", "of the weight gradients in it, which zero-bubble puts off (default 0)"},
      {"send", "TIME", "of one message between two stages (default 0)"},
  };
  return flags;
}

int parse_small(std::string_view text) {
  const std::int64_t value = parse_positive(text);
  check(value <= std::numeric_limits<int>::max(), "{} is too many", value);
  return static_cast<int>(value);
}

double parse_time(std::string_view text) {
  const double value = parse_number(text);
  check(value >= 0, "{} is out of range: a time is at least 0", value);
  return value;
}

// Costs of the pieces where a stage's time divides into equal chunks.
std::vector<PieceCost> costs_of(const Arguments& given, const PipelineShape& shape) {
  const auto time = [&](const char* name, double otherwise) { return given.get(name, parse_time, otherwise); };
  PieceCost cost = {.forward = time("forward", 1),
                    .backward = time("backward", 1),
                    .weight = time("weight", 0),
                    .send = time("send", 0)};
  if (cost.weight > cost.backward) {
    fail_usage("--weight {} is a part of --backward {}: it cannot be more", cost.weight, cost.backward);
  }
  cost.forward /= shape.chunks;
  cost.backward /= shape.chunks;
  cost.weight /= shape.chunks;
  return std::vector<PieceCost>(static_cast<std::size_t>(shape.pieces()), cost);
}

int draw(const Arguments& given) {
  const std::string path = given.required("draw");
  const ScheduleKind kind = given.get("schedule", parse_schedule, ScheduleKind::one_f_one_b);
  const PipelineShape shape = {.stages = given.get("stages", parse_small, 4),
                               .micro_batches = given.get("micro-batches", parse_small, 8),
                               .chunks = given.get("chunks", parse_small, 1)};
  if (shape.chunks > 1 && kind != ScheduleKind::interleaved) {
    fail_usage("--chunks {} goes with --schedule interleaved; {} has one chunk a stage", shape.chunks, name_of(kind));
  }
  const Schedule schedule = make_schedule(kind, shape);
  const Timeline timeline = simulate(schedule, costs_of(given, shape));
  write_file(path, draw_schedule(schedule, timeline));
  std::printf("%s\n", summary_of(schedule, timeline).c_str());
  log::info("the picture is in {}", path);
  return 0;
}

constexpr const char* about =
    "skymm plan --config RECIPE.ini --ranks N [--memory 80G] ...\n\n"
    "Lists the grids, schedules and ZeRO stages that the recipe can run on: the time of a step as computed from work\n"
    "and speeds, the share of it that stages idle, and the bytes that the fullest rank needs. Those that fit come\n"
    "first, the fastest first; then the options of skymm train that run the first of them, cut as it is planned.\n"
    "Exit code 1 where none fits.\n\n"
    "  skymm plan --config launch/recipes/nano-stage1.ini --ranks 4 --memory 1G\n\n"
    "skymm plan --draw FILE.svg [--schedule NAME] [--stages N] [--micro-batches N] ...\n\n"
    "Draws a pipeline schedule: a row a stage, a box a computation with the micro-batch's number in it. The bubble is\n"
    "the time that a stage must idle. With p stages, m micro-batches, v chunks, and times F (forward), B (backward)\n"
    "and W (the weight gradients in it) it is, if messages take no time,\n"
    "  gpipe, 1f1b   (p - 1) (F + B)          1f1b keeps the activations of p micro-batches at most, gpipe of all m\n"
    "  interleaved   (p - 1) (F + B) / v      for v times as many messages; m is best a multiple of p\n"
    "  zero-bubble   (p - 1) (F + B - 2 W)    where m >= p, W <= F and W <= B - W\n"
    "beside m (F + B) of work: more micro-batches make its share small. Weights that are frozen have no W.\n\n"
    "  skymm plan --draw a.svg --schedule interleaved --stages 4 --micro-batches 8 --chunks 2\n"
    "  skymm plan --draw b.svg --schedule zero-bubble --backward 2 --weight 1\n\n";

double parse_speed(std::string_view text) {
  const double value = parse_number(text);
  check(value > 0, "{} is out of range: a speed is more than 0", value);
  return value;
}

// Without its tokenizer at hand a decoder has the vocabulary of its preset.
std::int64_t vocabulary_of(const TrainConfig& config) {
  const std::string tokenizer = tokenizer_path(config.model);
  if (std::filesystem::exists(tokenizer)) return load_tokenizer(tokenizer)->vocab_size();
  const std::int64_t vocabulary = decoder_preset(config.model.decoder).vocabulary;
  log::warn("the tokenizer {} is not here; planning for the {} tokens of {}", tokenizer, vocabulary,
            config.model.decoder);
  return vocabulary;
}

StepCounts micro_batch_of(const Arguments& given, const TrainConfig& config, const MultimodalConfig& model) {
  const std::int64_t samples = config.train.micro_batch;
  const std::int64_t visual = model.vision ? model.resampler.tokens(*model.vision) : 0;
  const std::int64_t tokens = given.get("tokens", parse_positive, config.data.max_length);
  if (tokens <= visual) fail_usage("--tokens {}: a picture alone has {}", tokens, visual);
  const std::int64_t labels = given.get("labels", parse_positive, std::max<std::int64_t>(1, (tokens - visual) / 2));
  if (labels > tokens) fail_usage("--labels {}: a sample has {} tokens", labels, tokens);
  const std::int64_t images = model.vision ? samples : 0;
  return {.tokens = samples * tokens,
          .labels = samples * labels,
          .images = images,
          .resampled = images,
          .mean_length = static_cast<double>(tokens)};
}

int plan_recipe(const Arguments& given) {
  if (given.find("config") == nullptr) {
    fail_usage("skymm plan needs --config RECIPE.ini, or --draw FILE.svg; --help shows how");
  }
  const TrainConfig config = *parse_config({"--config", given.required("config")});
  const MultimodalConfig model = model_config(config, vocabulary_of(config));
  const DType dtype = parse_dtype(config.model.dtype);
  // CUDA's kernels take weights as they are; who plans for a GPU need not have one.
  const bool on_cpu = config.run.device == "cpu";
  if (!on_cpu && given.find("gflops") == nullptr) {
    fail_usage("run.device is {}, whose speed this command does not measure; give it by --gflops", config.run.device);
  }
  const ComputeForm form = on_cpu ? compute_form(dtype, cpu()) : ComputeForm{.dtype = dtype, .packed_copies = 1};
  PlanInput input =
      plan_input(config, model, form, given.get("ranks", parse_small, 1), given.get("ranks-per-node", parse_small, 1));
  input.micro_batch = micro_batch_of(given, config, model);
  input.memory = given.get("memory", parse_size, input.memory);
  input.bandwidth = 1e9 * given.get("bandwidth", parse_speed, 10.0);
  input.operations =
      1e9 * (given.find("gflops") != nullptr ? given.get("gflops", parse_speed, 0.0) : measured_gemm_peak(dtype));
  if (const std::string* cuts = given.find("cuts")) input.cuts = split_list(*cuts);

  const std::vector<Plan> plans = plan(input);
  const Plan& best = plans.front();
  std::printf("%d ranks, %d micro-batches of %lld tokens a step, %.0f GFLOP/s and %.0f GB/s a rank\n%s\n", input.ranks,
              input.micro_batches, static_cast<long long>(input.micro_batch.tokens), input.operations / 1e9,
              input.bandwidth / 1e9, plan_table(plans, given.get("most", parse_positive, std::size_t{12})).c_str());
  std::printf("the first of them, MiB a rank of each stage:\n%s", memory_table(input, best).c_str());
  std::printf("which train does with\n  %s\n", options_of(input, best).c_str());
  std::printf("the same with each model.recompute on all stages:\n%s", recompute_table(input, best).c_str());
  if (best.problem.empty()) return 0;
  std::printf("\nnothing fits: %s\n", best.problem.c_str());
  return 1;
}

}  // namespace

int plan_command(const std::vector<std::string>& arguments) {
  const Arguments given = parse_arguments("skymm plan", plan_flags(), arguments, 0);
  if (given.help) {
    std::printf("%s%s", about, flags_help(plan_flags()).c_str());
    return 0;
  }
  return given.find("config") != nullptr ? plan_recipe(given) : draw(given);
}

}  // namespace skymm
