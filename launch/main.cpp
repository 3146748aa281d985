#include "launch/command.hpp"

int main(int argc, char** argv) { return skymm::run_command_line({argv + 1, argv + argc}); }
