/// What the posted series of KVM does otherwise than it should; none by default.
///
/// The series was never merged. Each quirk is one defect of it, so that what hangs on it can be
/// shown.
public struct SubpageQuirks: OptionSet, Hashable, Sendable {
  /// The bits.
  public let rawValue: UInt16
  /// Wraps the bits.
  public init(rawValue: UInt16) { self.rawValue = rawValue }

  /// A miss writes the permissions of the page that missed and of no other in its 2 MiB, whose
  /// empty entries then refuse everything (versions 3 to 6).
  public static let fillsOnePage = SubpageQuirks(rawValue: 1 << 0)
  /// A processor that gives its root back empties the tables of all processors (version 11).
  public static let rootGoesWithAnyProcessor = SubpageQuirks(rawValue: 1 << 1)
  /// Setting a range makes some of its 2 MiB blocks look as before: the walk over them goes one
  /// frame too far each time, and from the range's first frame on.
  public static let missesBlocks = SubpageQuirks(rawValue: 1 << 2)
  /// After a large page went, the walk over a range's leaves gives each the permissions of another
  /// page.
  public static let leavesOutOfStep = SubpageQuirks(rawValue: 1 << 3)
  /// Of a range over several slots, only the first slot's leaves follow.
  public static let firstSlotOnly = SubpageQuirks(rawValue: 1 << 4)
  /// A write that the hypervisor performs is refused by page, with one page too many when it ends
  /// where a page does, and reported by frame number.
  public static let emulatorJudgesPages = SubpageQuirks(rawValue: 1 << 5)
  /// Any slot that goes switches protection off for the machine; leaves stay as they are.
  public static let deletionDisables = SubpageQuirks(rawValue: 1 << 6)
  /// Slots that come after protection was switched on have no map.
  public static let newSlotsHaveNoMap = SubpageQuirks(rawValue: 1 << 7)
  /// A write that the processor refused at an armed leaf is refused, whatever the map says.
  public static let refusesUnasked = SubpageQuirks(rawValue: 1 << 8)
  /// Protection cannot be switched on where guests of the guest may run, which is everywhere.
  public static let exclusiveWithNested = SubpageQuirks(rawValue: 1 << 9)

  /// Every quirk with the name by which a scenario asks for it.
  public static let named: [(name: String, quirk: SubpageQuirks)] = [
    ("spp-fills-one-page", .fillsOnePage),
    ("spp-root-goes-with-any-processor", .rootGoesWithAnyProcessor),
    ("spp-misses-blocks", .missesBlocks), ("spp-leaves-out-of-step", .leavesOutOfStep),
    ("spp-first-slot-only", .firstSlotOnly),
    ("spp-emulator-judges-pages", .emulatorJudgesPages),
    ("spp-deletion-disables", .deletionDisables),
    ("spp-new-slots-have-no-map", .newSlotsHaveNoMap),
    ("spp-refuses-unasked", .refusesUnasked),
    ("spp-exclusive-with-nested", .exclusiveWithNested),
  ]
}
