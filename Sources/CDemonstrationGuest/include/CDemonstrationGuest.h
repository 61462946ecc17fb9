/// The guest that ships inside the executable.
#pragma once
#include <stddef.h>

/// The bytes of the demonstration guest's image.
const unsigned char *penumbra_demonstration_guest(void);

/// How many bytes it has.
size_t penumbra_demonstration_guest_size(void);
