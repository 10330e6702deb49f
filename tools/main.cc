#include "tools/command.h"

int main(int argc, char** argv) { return modelfs::tools::Run(argc, argv); }
