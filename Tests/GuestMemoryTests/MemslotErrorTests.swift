import GuestMemory
import HostMemory
import PagingUnits
import Testing

@Suite struct MemslotErrorTests {
  static let end: UInt64 = 0x7FFF_FFFF_F000

  /// A request with every mistake from `first` on, in KVM's order: the first one is reported.
  static let mistakes: [(MemslotRegion, MemslotError)] = {
    var cases: [(MemslotRegion, MemslotError)] = []
    var region = MemslotRegion(40000, at: 0, 0, host: 0)
    region.addressSpace = .systemManagement
    region.flags = MemslotFlags(rawValue: 8)
    region.byteCount = 100
    region.guestAddress = GuestPhysical(1)
    region.hostAddress = HostVirtual(2)
    cases.append((region, .reservedID(MemslotID(40000))))
    region.origin = .machine
    cases.append((region, .flags(MemslotFlags(rawValue: 8))))
    region.flags = .guestMemfd
    cases.append((region, .flags(.guestMemfd)))
    region.flags = [.logDirty, .readOnly]
    cases.append((region, .size(100)))
    region.byteCount = 1 << 44
    cases.append((region, .guestAddress(GuestPhysical(1))))
    region.guestAddress = GuestPhysical(UInt64.max & ~0xFFF)
    cases.append((region, .hostAddress(HostVirtual(2))))
    region.hostAddress = HostVirtual(end - (1 << 44) + 4096)
    cases.append((region, .hostAddress(region.hostAddress)))
    region.hostAddress = HostVirtual(end - (1 << 44))
    cases.append((region, .addressSpace(.systemManagement)))
    region.addressSpace = .normal
    cases.append((region, .id(MemslotID(40000))))
    region.id = MemslotID(3)
    cases.append((region, .wraps))
    region.guestAddress = GuestPhysical(0)
    cases.append((region, .tooManyPages(1 << 32)))
    region.byteCount = 0
    cases.append((region, .nothingToDelete))
    return cases
  }()

  @Test("the first mistake in KVM's order is the one reported", arguments: mistakes.indices)
  func order(index: Int) {
    var options = GuestMemory.Options()
    options.addressSpaceCount = 1
    let memory = GuestMemory(options: options)
    let (region, expected) = Self.mistakes[index]
    #expect(memory.refusal(of: region) == expected)
    #expect(memory.generation(of: .normal).raw == 0)
  }

  @Test("an id of the machine's own is open to the machine only")
  func machineIDs() {
    let memory = GuestMemory()
    var region = MemslotRegion(32764, at: 0, 3, host: 16)
    #expect(memory.refusal(of: region) == .reservedID(.taskStateSegment))
    region.origin = .machine
    #expect(memory.refusal(of: region) == nil)
    #expect(memory.slot(.taskStateSegment, in: .normal)?.isVisible == false)
    let isVisible = memory.isVisible(GuestFrame(1), in: .normal)
    #expect(!isVisible)
    region.id = MemslotID(32763)
    region.origin = .user
    region.guestAddress = GuestPhysical(1 << 20)
    #expect(memory.refusal(of: region) == nil)
    let isUserVisible = memory.isVisible(GuestFrame(256), in: .normal)
    #expect(isUserVisible)
  }

  static let later: [(MemslotRegion, MemslotError?)] = [
    (MemslotRegion(1, at: 100, 50, host: 1000), nil),
    (MemslotRegion(1, at: 100, 51, host: 1000), .immutable),
    (MemslotRegion(1, at: 100, 50, host: 1001), .immutable),
    (MemslotRegion(1, at: 100, 50, host: 1000, flags: .readOnly), .immutable),
    (MemslotRegion(1, at: 120, 50, host: 1000, flags: .readOnly), .immutable),
    (MemslotRegion(1, at: 151, 50, host: 1000), .overlap(MemslotID(2))),
    (MemslotRegion(1, at: 120, 50, host: 1000), nil),
    (MemslotRegion(3, at: 199, 2, host: 1000), .overlap(MemslotID(2))),
    (MemslotRegion(3, at: 209, 2, host: 1000), .overlap(MemslotID(2))),
    (MemslotRegion(3, at: 203, 2, host: 1000), .overlap(MemslotID(2))),
    (MemslotRegion(3, at: 90, 200, host: 1000), .overlap(MemslotID(1))),
    (MemslotRegion(3, at: 210, 2, host: 1000), nil),
    (MemslotRegion(3, at: 198, 2, host: 1000), nil),
    (MemslotRegion(1, at: 100, 50, host: 1000, in: .systemManagement), nil),
    (.delete(4), .nothingToDelete),
    (.delete(2), nil),
    (.delete(2, in: .systemManagement), .nothingToDelete),
  ]

  @Test(
    "a slot that exists may move and change its flags, and slots do not overlap",
    arguments: later.indices)
  func existing(index: Int) throws {
    let memory = GuestMemory()
    try memory.change(MemslotRegion(1, at: 100, 50, host: 1000))
    try memory.change(MemslotRegion(2, at: 200, 10, host: 2000))
    let before = memory.allSlots()
    let (region, expected) = Self.later[index]
    #expect(memory.refusal(of: region) == expected)
    if expected != nil { #expect(memory.allSlots() == before) }
  }

  @Test("a slot above the largest frame is refused after the invalid phase, as in KVM")
  func maximumFrame() throws {
    var options = GuestMemory.Options()
    options.maximumFrame = GuestFrame(0xFFFF)
    let memory = GuestMemory(options: options)
    #expect(
      memory.refusal(of: MemslotRegion(1, at: 0xFFF0, 17, host: 16))
        == .beyondMaximumFrame(GuestFrame(0x10000)))
    #expect(memory.generation(of: .normal).raw == 0)
    try memory.change(MemslotRegion(1, at: 0xFFF0, 16, host: 16))
    let before = memory.allSlots()
    #expect(
      memory.refusal(of: MemslotRegion(1, at: 0xFFF1, 16, host: 16))
        == .beyondMaximumFrame(GuestFrame(0x10000)))
    #expect(memory.allSlots() == before)
    #expect(memory.generation(of: .normal).raw == 2 + 4)
  }

  @Test("errors carry KVM's error numbers")
  func names() {
    #expect("\(MemslotError.overlap(MemslotID(1)).errnoName)" == "EEXIST")
    #expect("\(MemslotError.noMemory.errnoName)" == "ENOMEM")
    #expect("\(MemslotError.wraps.errnoName)" == "EINVAL")
  }
}
