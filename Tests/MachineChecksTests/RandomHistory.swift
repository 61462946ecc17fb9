import DirectMMU
import GuestMemory
import HostMemory
import MachineChecks
import MachineEvents
import PagingUnits
import SparseMemory
import VirtualMachine

/// A machine to which random, legal things happen, by seed.
struct RandomHistory: ~Copyable {
  // Fields end in this order: the buffers outlive the machine on them.
  let machine: VirtualMachine
  let buffers: SparseHost
  private var watch: GenerationWatch
  private var random: UInt64
  private var regions: [Range<HostVirtual>] = []
  private var seen: Set<String> = []

  /// How many different kinds of step there were.
  var kindsOfStep: Int { seen.count }

  init(_ configuration: MachineConfiguration, seed: UInt64) throws {
    let buffers = try SparseHost(byteCount: 2 << 30)
    var options = HostMemory.Options()
    options.deviceFrames = 64
    options.scatter = seed & 1 == 0 ? .packed : .scattered(frames: 1 << 16, seed: seed)
    let host = buffers.makeHost(options)
    let device = host.deviceFrames.lowerBound
    let process = try HostAddressSpace(sharing: host)
    let file = try process.open(HostFile(seed: seed, byteCount: 1 << 20))
    let backings: [(UInt64, HostBacking)] = [
      (8 << 20, .anonymous(largestPage: .page4K)), (8 << 20, .anonymous(largestPage: .page2M)),
      (1 << 20, .file(file, offset: 0, .shared)), (1 << 20, .file(file, offset: 0, .copyOnWrite)),
      (64 << 12, .device(firstFrame: device)), (4 << 20, .hugePages(.page2M)),
    ]
    var regions: [Range<HostVirtual>] = []
    for (byteCount, backing) in backings {
      let start = try process.add(HostRegionRequest(byteCount: byteCount, backing: backing))
      regions.append(start..<(start + byteCount))
    }
    let machine = VirtualMachine(configuration, process: process)
    watch = GenerationWatch(machine)
    random = seed &* 0x9E37_79B9_7F4A_7C15 | 1
    self.regions = regions
    self.buffers = buffers
    self.machine = machine
    for id in 0..<6 { place(UInt16(id)) }
  }

  /// The first rule that does not hold.
  mutating func violation() -> Violation? {
    watch.violation(in: machine) ?? MachineInspection.violation(in: machine, of: 0)
      ?? KeptTranslations.violation(in: machine, of: 1)
  }

  private mutating func below(_ limit: UInt64) -> UInt64 {
    random ^= random << 13
    random ^= random >> 7
    random ^= random << 17
    return (random >> 11) % limit
  }

  /// Creates, moves, re-flags or deletes a slot; refusals are legal too.
  private mutating func place(_ id: UInt16) {
    let region = regions[Int(id) % regions.count]
    var flags: MemslotFlags = []
    if below(8) == 0 { flags.insert(.readOnly) }
    let isDeleted = below(5) == 0
    let start = UInt64(id) << 25 + below(3) << 20
    let space: AddressSpace = below(6) == 0 ? .systemManagement : .normal
    do throws(MemslotError) {
      try machine.setMemoryRegion(
        MemslotRegion(
          id: MemslotID(id), addressSpace: space, flags: flags,
          guestAddress: GuestPhysical(start),
          byteCount: isDeleted ? 0 : region.upperBound - region.lowerBound,
          hostAddress: region.lowerBound))
    } catch {}
  }

  /// Does one random thing; its name.
  mutating func step() -> String {
    let region = regions[Int(below(UInt64(regions.count)))]
    let pages = (region.upperBound - region.lowerBound) >> 12
    let first = below(min(pages, 1024))
    let address = region.lowerBound + first << 12
    let end = region.lowerBound + min(pages, first + 1 + below(64)) << 12
    let name: String
    switch below(34) {
    case 0: name = "unmap: \(machine.unmapHost(address..<end))"
    case 1:
      name = "protect"
      let protection: HostProtection = [.none, .readOnly, .readWrite][Int(below(3))]
      do throws(HostRegionError) { try machine.protectHost(address..<end, as: protection) } catch {}
    case 2: name = "migrate: \(machine.migrateHost(address))"
    case 3: name = "split: \(machine.splitHost(address))"
    case 4: name = "collapse: \(machine.collapseHost(address, to: .page2M))"
    case 5, 6:
      name = "memslot"
      place(UInt16(below(8)))
    case 7:
      name = "zap all"
      if below(4) == 0 { machine.zapAll() }
    case 8:
      let space: AddressSpace = below(3) == 0 ? .systemManagement : .normal
      name = "address space \(space)"
      machine.setAddressSpace(space, of: Int(below(2)))
    case 9:
      let question: HostAddressSpace.AgeQuestion = [.clearAndFlush, .clear, .test][Int(below(3))]
      _ = machine.ageHost(address..<end, question)
      name = "age \(question)"
    case 10:
      let source = region.lowerBound + below(min(pages, 64)) << 12
      name = "merge: \(machine.mergeHost(address, into: source))"
    case 11: name = "swap out: \(machine.swapOutHost(address..<end))"
    case 12: name = "swap in: \(machine.swapInHost(address..<end))"
    case 13: name = "write-protect: \(machine.writeProtectHost(address..<end))"
    case 14: name = "share: \(machine.shareHost(address..<end))"
    case 15:
      name = "drop copy"
      machine.dropHostCopy(of: address..<end)
    case 16: name = "merge range: \(machine.mergeHost(address..<end))"
    case 17: name = below(8) == 0 ? "poison: \(machine.poisonHost(address))" : access()
    case 18:
      name = "refuse"
      machine.process.host.refuse(below(2) == 0 ? .every(2 + below(5)) : .never)
    default: name = access()
    }
    seen.insert(name)
    return name
  }

  /// A guest access to a slot, mostly to few pages of it, or to a device.
  private mutating func access() -> String {
    let place = below(8) << 25 + below(3) << 20 + below(below(4) == 0 ? 4096 : 24) << 12
    let kind = [AccessKind.read, .write, .fetch][Int(below(3))]
    return switch machine.access(Int(below(2)), GuestPhysical(place), kind) {
    case .translated: "\(kind)"
    case .device: "\(kind) of a device"
    case .failed(let reason, _): "\(kind) failed: \(reason)"
    default: "\(kind) came to something else"
    }
  }
}
