#include "CDemonstrationGuest.h"

#pragma clang diagnostic ignored "-Wc23-extensions"

static const unsigned char image[] = {
#embed "../../Guests/Prebuilt/demonstration.elf"
};

const unsigned char *penumbra_demonstration_guest(void) { return image; }

size_t penumbra_demonstration_guest_size(void) { return sizeof image; }
