// Signal handlers of their own stack.
//
// Matrix products compiled at run time (oneDNN's for AVX-512) use memory below the stack's end, further than the 128
// bytes that the system leaves alone: a handler that runs there writes over their data.
#pragma once

namespace skymm {

// Handlers that are installed with SA_ONSTACK run on a stack apart wherever they interrupt this thread.
void use_signal_stack();

}  // namespace skymm
