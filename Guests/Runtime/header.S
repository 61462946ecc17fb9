// The Multiboot 1 header. 64-bit guests are ELF64 files, which QEMU's loader takes only by the
// address fields of the header (flag bit 16): the file is laid out so that both ways of loading it
// give the same bytes at the same places.
#define MAGIC 0x1BADB002
#ifdef __x86_64__
#define FLAGS 0x00010002
#else
#define FLAGS 0x00000002
#endif
  .section .multiboot, "a"
  .balign 4
multiboot_header:
  .long MAGIC
  .long FLAGS
  .long -(MAGIC + FLAGS)
  .long multiboot_header
  .long image_start
  .long image_loaded_end
  .long image_end
  .long enter
