// A pipeline schedule is data: for each stage, the list of instructions that one executor carries out.
//
//   forward          the chunk's blocks run on a micro-batch; what backward needs is kept
//   backward         the gradient walks back through them: the gradient of the chunk's input and, unless split off, of
//                    its weights
//   weight_gradient  the part of backward that nobody waits for, where a schedule splits it off (zero bubble)
//   send, receive    an activation goes to the next piece of the model, its gradient comes back
//
// A model is cut into stages x chunks consecutive pieces. Stage s holds the pieces s, s + stages, s + 2 stages, ...:
// its chunks 0, 1, 2, ... Everything here is a pure function of a few integers, so that tests prove of each list,
// without a single rank running, that it is complete, keeps every dependency, cannot deadlock, and idles as long as its
// formula says.
//
// With p stages, m micro-batches and v chunks, where F is the time of a whole stage's forward on one micro-batch, B of
// its backward (input and weights) and W of the weight gradients in B:
//
//   kind         bubble: time that a stage idles   activations that stage s keeps at most
//   gpipe        (p - 1) (F + B)                   m
//   1f1b         (p - 1) (F + B)                   min(m, p - s)
//   interleaved  (p - 1) (F + B) / v               min(m v, 2 (p - 1 - s) + (v - 1) p + 1), each 1/v as large;
//                                                  the bubble where p divides m, else at most as if m were rounded up
//   zero-bubble  (p - 1) (F + B - 2 W)             min(m, p)
//                                                  the bubble where m >= p, W <= F and W <= B - W (what is left of B
//                                                  for the input's gradient); (p - 1) (F + B - W) - (m - 1) W below p
//
// Stages are taken to cost the same, and messages to take no time. Activations count from forward to the last gradient
// work of their micro-batch.
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
    receive_activation,  // of the piece before; chunk: the one that takes it in
    forward,
    send_activation,
    receive_gradient,  // of what this chunk sent
    backward,          // of input and weights, or of the input alone where the list has weight_gradient for it
    weight_gradient,   // later, for the same chunk and micro-batch
    send_gradient,     // of what this chunk received
    gather_weights,    // ZeRO-3: the chunk's weights are made whole before use, ...
    release_weights,   // ... and given up after it
    reduce_gradients   // the chunk's gradients go to the ranks that own them; below ZeRO-2 once a step
  };
  Kind kind = Kind::forward;
  int chunk = 0;        // of this stage
  int micro_batch = 0;  // from 0

  bool operator==(const Instruction&) const = default;
};

// Whether it is forward, backward or weight_gradient.
bool computes(Instruction::Kind kind);

struct PipelineShape {
  int stages = 1, micro_batches = 1, chunks = 1;  // chunks: pieces of the model a stage; > 1 for interleaved only

  int pieces() const { return stages * chunks; }
  int piece(int stage, int chunk) const { return chunk * stages + stage; }
  int stage_of(int piece) const { return piece % stages; }
  int chunk_of(int piece) const { return piece / stages; }
};

struct Schedule {
  ScheduleKind kind = ScheduleKind::one_f_one_b;
  PipelineShape shape;
  std::vector<std::vector<Instruction>> stages;  // one list a stage
};

// The lists, without ZeRO's instructions. On each stage backwards (and weight gradients) of a chunk come in ascending
// order of micro-batches, so that gradients add up in the same order whatever the schedule. Throws Error where the
// shape is not positive, or has chunks that the kind does not know.
//
// Messages: a send stands right after the computation whose result it moves, a receive right before the one that needs
// it; where a send of a gradient and a receive of an activation meet, the activation goes first. Of each kind the n-th
// send from one stage to another meets the n-th receive. Receives may block if sends do not: then nothing deadlocks,
// and no stage waits for more than its next input. The lists of gpipe and 1f1b stand even sends that wait for their
// receives; the other kinds let a stage run ahead of its neighbour's receive, so that their sends must not block.
// A stage sends itself nothing: with one stage there are no messages, and the executor hands tensors from chunk to
// chunk.
Schedule make_schedule(ScheduleKind kind, const PipelineShape& shape);
// Forwards alone, as of a validation.
Schedule make_forward_schedule(const PipelineShape& shape);

// Puts in the collectives of ZeRO (see parallel/zero) at places that depend on the stage alone, so that all ranks of a
// data-parallel group meet in the same order. Gradients are reduced after a chunk's last gradient work on a
// micro-batch, behind the messages that follow it: on each micro-batch from ZeRO stage 2 on, below that on the last
// alone. At stage 3 weights are gathered for each run of computations by the same chunk, one computation ahead of it,
// and released right after it: a stage holds those of two chunks at most. Throws Error where zero_stage is not 0 to 3,
// or where the lists have such instructions already.
void add_zero(Schedule& schedule, int zero_stage);

// Whether weight gradients are instructions of their own; backward is then of the input alone.
bool splits_weight_gradients(const Schedule& schedule);

// The most micro-batches whose activations a stage keeps at once, counted over its chunks.
int live_activations(const Schedule& schedule, int stage);

// "gpipe", "1f1b", "interleaved", "zero-bubble"
std::string_view name_of(ScheduleKind kind);
ScheduleKind parse_schedule(std::string_view name);  // throws Error that lists them
std::string_view name_of(Instruction::Kind kind);    // as in the enumeration, with spaces: "send activation"

}  // namespace skymm
