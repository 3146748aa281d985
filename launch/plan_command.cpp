#include "launch/plan_command.hpp"

#include <cstdio>
#include <limits>

#include "core/log.hpp"
#include "io/file.hpp"
#include "launch/options.hpp"
#include "launch/schedule_drawing.hpp"

namespace skymm {
namespace {

const std::vector<Flag>& draw_flags() {
  static const std::vector<Flag> flags = {
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
    "skymm plan --draw FILE.svg [--schedule NAME] [--stages N] [--micro-batches N] ...\n\n"
    "Draws a pipeline schedule: a row a stage, a box a computation with the micro-batch's number in it. The bubble is\n"
    "the time that a stage must idle. With p stages, m micro-batches, v chunks, and times F (forward), B (backward) "
    "and\n"
    "W (the weight gradients in it) it is, if messages take no time,\n"
    "  gpipe, 1f1b   (p - 1) (F + B)          1f1b keeps the activations of p micro-batches at most, gpipe of all m\n"
    "  interleaved   (p - 1) (F + B) / v      for v times as many messages; m is best a multiple of p\n"
    "  zero-bubble   (p - 1) (F + B - 2 W)    where m >= p, W <= F and W <= B - W\n"
    "beside m (F + B) of work: more micro-batches make its share small. Weights that are frozen have no W.\n\n"
    "  skymm plan --draw a.svg --schedule interleaved --stages 4 --micro-batches 8 --chunks 2\n"
    "  skymm plan --draw b.svg --schedule zero-bubble --backward 2 --weight 1\n\n";

}  // namespace

int plan_command(const std::vector<std::string>& arguments) {
  const Arguments given = parse_arguments("skymm plan", draw_flags(), arguments, 0);
  if (given.help) {
    std::printf("%s%s", about, flags_help(draw_flags()).c_str());
    return 0;
  }
  return draw(given);
}

}  // namespace skymm
