// A stack of their own for signal handlers.
//
// A handler that runs on the stack of a matrix product that oneDNN compiled at run time for AVX-512 damages memory
// (tests/launch/signals shows it): such code seems to use more below the stack's end than the 128 bytes that the
// system leaves alone.
#pragma once

namespace skymm {

// Handlers that are installed with SA_ONSTACK run on a stack apart wherever they interrupt this thread, until it ends.
void use_signal_stack();

}  // namespace skymm
