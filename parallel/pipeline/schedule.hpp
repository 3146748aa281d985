// A pipeline schedule is data: for each stage, the list of instructions that one executor carries out.
//
//   forward        the chunk's blocks run on a micro-batch; what backward needs is kept
//   backward       the gradient walks back through them: the gradient of the chunk's input, and (unless split) of
//   weights weight_gradient  the part of backward that nobody waits for, where a schedule splits it off (zero bubble)
//   send, receive  an activation goes to the next virtual stage, its gradient comes back
//
// A model is cut into stages x chunks consecutive pieces. Stage s holds the pieces s, s + stages, s + 2 stages, ...:
// its chunks 0, 1, 2, ... Everything here is a pure function of a few integers, so that tests prove of each list,
// without a single rank running, that it is complete, keeps every dependency, cannot deadlock, and idles as long as its
// formula says.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace skymm {

enum class ScheduleKind : std::uint8_t {
  gpipe,        // all forwards, then all backwards (Huang et al. 2019)
  one_f_one_b,  // one forward, one backward in turn: at most `stages` micro-batches are alive (Narayanan et al. 2021)
  interleaved,  // the same over `chunks` pieces a stage: the bubble shrinks by `chunks` (Narayanan et al. 2021)
  zero_bubble,  // 1F1B with weight gradients split off, to fill the bubble (ZB-H1, Qi et al. 2024)
};

struct Instruction {
  enum class Kind : std::uint8_t {
    receive_activation,
    forward,
    send_activation,
    receive_gradient,
    backward,         // of input and weights, or of the input alone where the list has weight_gradient for it
    weight_gradient,  // later, for the same chunk and micro-batch
    send_gradient,
    gather_weights,   // ZeRO-3: the chunk's weights are made whole before use, ...
    release_weights,  // ... and given up after it
    reduce_gradients  // ZeRO-2 and 3: the chunk's gradients go to the ranks that own them
  };
  Kind kind = Kind::forward;
  int chunk = 0;        // of this stage
  int micro_batch = 0;  // from 0

  bool operator==(const Instruction&) const = default;
};

struct PipelineShape {
  int stages = 1, micro_batches = 1, chunks = 1;  // chunks: pieces of the model a stage; > 1 for interleaved only

  int pieces() const { return stages * chunks; }
  int piece(int stage, int chunk) const { return chunk * stages + stage; }
};

struct Schedule {
  ScheduleKind kind = ScheduleKind::one_f_one_b;
  PipelineShape shape;
  std::vector<std::vector<Instruction>> stages;  // one list a stage
};

// The lists, without ZeRO's instructions. On each stage backwards (and weight gradients) of a chunk come in ascending
// order of micro-batches, so that gradients add up in the same order whatever the schedule. Throws Error where the
// shape is not positive, or has chunks that the kind does not know.
Schedule make_schedule(ScheduleKind kind, const PipelineShape& shape);

// The same with the collectives of ZeRO put in at fixed places (see parallel/zero): from stage 2 on gradients are
// reduced after each chunk's last gradient work on a micro-batch; at stage 3 weights are gathered one instruction ahead
// of use.
void add_zero(Schedule& schedule, int zero_stage);

// The most micro-batches whose activations a stage keeps at once, counted over its chunks.
int live_activations(const Schedule& schedule, int stage);

// "gpipe", "1f1b", "interleaved", "zero-bubble"
std::string_view name_of(ScheduleKind kind);
ScheduleKind parse_schedule(std::string_view name);  // throws Error that lists them
std::string_view name_of(Instruction::Kind kind);

}  // namespace skymm
