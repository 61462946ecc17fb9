import HostMemory
import PagingUnits
import VirtualMachine

/// What the host process has behind the slots of a stage.
///
/// Host addresses lie congruent to guest addresses modulo 1 GiB, as VMMs arrange it so that large
/// pages fit, unless a slot asks for an offset.
struct SlotBackings {
  /// The frames at the end of host memory that belong to devices.
  static let deviceFrames: UInt64 = 1024

  /// Names a slot.
  struct Key: Hashable {
    var space: AddressSpace
    var id: UInt16
  }

  /// Where host memory for a slot was found.
  enum Place {
    /// Here; newly made, or shared with another slot.
    case at(HostVirtual, isNew: Bool)
    /// Nowhere, with the name of Linux's error number.
    case refused(String)
  }

  /// A region of the host process and how many slots lie in it.
  private struct Region {
    var range: Range<HostVirtual>
    var users: Int
  }

  private var regions: [Region] = []
  private var regionOfSlot: [Key: HostVirtual] = [:]
  /// The largest page without which a slot that was ever made cannot do.
  private(set) var largestUnit = FrameOrder.page4K
  private var nextFileSeed: UInt64 = 1
  /// Regions start in slices of the process's addresses, so that none meets another.
  private var nextSlice: UInt64 = 1

  /// Finds host memory for a new slot.
  mutating func place(
    _ change: MemslotChange, in process: borrowing HostAddressSpace
  ) -> Place {
    if let id = change.sharing {
      for space in AddressSpace.allCases {
        if let address = regionOfSlot[Key(space: space, id: id)] {
          return .at(address, isNew: false)
        }
      }
      return .refused("ENOENT")
    }
    guard change.byteCount & 0xFFF == 0, change.byteCount <= 1 << 45 else {
      // The slot's own rules refuse it; any address serves to ask them.
      return .at(HostVirtual(1 << 32), isNew: false)
    }
    let gigabyte: UInt64 = 1 << 30
    let start = nextSlice * gigabyte + (change.address.raw &+ change.hostOffset) & (gigabyte - 1)
    let slices = (change.byteCount + 2 * gigabyte) / gigabyte + 1
    let backing: HostBacking
    do throws(HostRegionError) {
      backing = try hostBacking(of: change, in: process)
      let request = HostRegionRequest(
        byteCount: change.byteCount, backing: backing, at: HostVirtual(start & ~0xFFF))
      let address = try process.add(request)
      nextSlice += slices
      regions.append(Region(range: address..<(address + change.byteCount), users: 0))
      return .at(address, isNew: true)
    } catch {
      switch error {
      case .size, .misaligned, .pageSize, .overlap: return .refused("EINVAL")
      case .outside, .noGap, .tooMany, .absent, .outOfFrames: return .refused("ENOMEM")
      }
    }
  }

  private mutating func hostBacking(
    of change: MemslotChange, in process: borrowing HostAddressSpace
  ) throws(HostRegionError) -> HostBacking {
    switch change.backing {
    case .anonymous: return .anonymous(largestPage: .page4K)
    case .transparent2M: return .anonymous(largestPage: .page2M)
    case .transparent1G: return .anonymous(largestPage: .page1G)
    case .huge2M:
      largestUnit = max(largestUnit, .page2M)
      return .hugePages(.page2M)
    case .huge1G:
      largestUnit = .page1G
      return .hugePages(.page1G)
    case .device:
      let frames = process.host.deviceFrames
      return .device(firstFrame: frames.lowerBound)
    case .file:
      let file = try process.open(HostFile(seed: nextFileSeed, byteCount: change.byteCount))
      nextFileSeed += 1
      return .file(file, offset: 0, .shared)
    }
  }

  /// Remembers where a slot lies.
  mutating func record(_ key: Key, at address: HostVirtual) {
    if let before = regionOfSlot[key] {
      if before == address { return }
      count(-1, at: before)
    }
    regionOfSlot[key] = address
    count(1, at: address)
  }

  private mutating func count(_ amount: Int, at address: HostVirtual) {
    guard let index = regions.firstIndex(where: { $0.range.lowerBound == address }) else { return }
    regions[index].users += amount
  }

  /// A slot is gone: host memory that no slot uses goes too.
  mutating func release(_ key: Key, from machine: borrowing VirtualMachine) {
    guard let address = regionOfSlot.removeValue(forKey: key) else { return }
    count(-1, at: address)
    guard let index = regions.firstIndex(where: { $0.range.lowerBound == address }),
      regions[index].users <= 0
    else { return }
    remove(at: address, from: machine)
  }

  /// Takes a region out of the host process.
  mutating func remove(at address: HostVirtual, from machine: borrowing VirtualMachine) {
    guard let index = regions.firstIndex(where: { $0.range.lowerBound == address }) else { return }
    let range = regions[index].range
    regions.remove(at: index)
    machine.removeHost(range)
  }
}
