import ArgumentParser
import EventSources
import PagingUnits
import X86Paging

/// Which memory image a verb looks into, and the registers by which it is translated.
struct ImageOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "ELF core of a guest: QEMU's dump-guest-memory, virsh dump --memory-only, kdump.",
      discussion: """
        Registers come from its notes. No note has EFER: a core of an x86-64 machine was in long \
        mode; no-execute is taken to be on.
        """, valueName: "file"))
  var core: String?

  @Option(
    help: ArgumentHelp(
      "Raw bytes of guest-physical memory, from address GPA on (default 0); repeatable.",
      valueName: "file[@gpa]"))
  var image: [String] = []

  @Option(
    help: ArgumentHelp(
      "Which processor of the core.", discussion: "Counted from 0.", valueName: "n"),
    transform: Quantity.option)
  var cpu: UInt64 = 0

  @Option(
    help: ArgumentHelp("CR0.", discussion: "Default: the core's; 0x80010001.", valueName: "word"),
    transform: Quantity.option)
  var cr0: UInt64?

  @Option(
    help: ArgumentHelp("CR3.", discussion: "Default: the core's.", valueName: "word"),
    transform: Quantity.option)
  var cr3: UInt64?

  @Option(
    help: ArgumentHelp("CR4.", discussion: "Default: the core's; 0x20.", valueName: "word"),
    transform: Quantity.option)
  var cr4: UInt64?

  @Option(
    help: ArgumentHelp(
      "IA32_EFER.", discussion: "Default: what the core lets conclude; 0xd00.",
      valueName: "word"),
    transform: Quantity.option)
  var efer: UInt64?

  @Option(
    help: ArgumentHelp("PKRU.", discussion: "Default: 0.", valueName: "word"),
    transform: Quantity.option)
  var pkru: UInt64 = 0

  @Option(
    name: .customLong("phys-bits"),
    help: ArgumentHelp(
      "MAXPHYADDR: address bits from here on are reserved.", discussion: "32 to 52; default 52.",
      valueName: "n"),
    transform: Quantity.option)
  var physicalBits: UInt64 = 52

  @Option(
    name: .customLong("nested-root"),
    help: ArgumentHelp(
      "EPT pointer of a second dimension in the same image.",
      discussion: "CR3 and the guest's tables are then addresses of the inner guest.",
      valueName: "eptp"),
    transform: Quantity.option)
  var nestedRoot: UInt64?

  func validate() throws {
    guard core != nil || !image.isEmpty else {
      throw ValidationError("--core FILE or --image FILE[@GPA] was expected")
    }
    guard 32...52 ~= physicalBits else {
      throw ValidationError("--phys-bits \(physicalBits): a number from 32 to 52 was expected")
    }
    guard pkru <= UInt64(UInt32.max) else {
      throw ValidationError("--pkru: a number of 32 bits was expected")
    }
    if let nestedRoot {
      let length = EPTPointerLayout.walkLength.value(in: nestedRoot)
      guard length == 3 || length == 4 else {
        throw ValidationError(
          "--nested-root: an EPT pointer was expected, whose bits 5:3 are 3 (four levels, "
            + "as in ...01e) or 4 (five levels)")
      }
    }
  }
}
