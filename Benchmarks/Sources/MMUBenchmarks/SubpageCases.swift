import GuestMemory
import HardwareModel
import HostMemory
import PagingUnits
import SparseMemory
import VirtualMachine

/// A machine with 2 MiB of guest memory, half of whose pages are protected: odd ones, of which the
/// lower half of each may be written.
///
/// Writes go to 32 pages, so that a processor keeps all it needs. What stands beside each figure is
/// no plain C, but the same machine's ordinary write.
final class SubpageWriter {
  static let pages: UInt64 = 512
  let machine: VirtualMachine
  let buffers: SparseHost

  init() {
    guard let buffers = try? SparseHost(byteCount: 1 << 30),
      let process = try? HostAddressSpace(sharing: buffers.makeHost()),
      let base = try? process.add(
        HostRegionRequest(byteCount: Self.pages << 12, backing: .anonymous(largestPage: .page4K)))
    else { fatalError("no address space") }
    self.buffers = buffers
    var configuration = MachineConfiguration()
    configuration.subpages = .present
    machine = VirtualMachine(configuration, process: process)
    guard
      let _ = try? machine.setMemoryRegion(
        MemslotRegion(
          id: MemslotID(0), guestAddress: GuestPhysical(0), byteCount: Self.pages << 12,
          hostAddress: base)),
      let _ = try? machine.enableSubpageProtection()
    else { fatalError("no slot") }
    for page in 0..<Self.pages { _ = write(page << 12) }
    protect()
    for page in 0..<Self.pages { _ = write(page << 12) }
  }

  private func write(_ address: UInt64) -> AccessOutcome {
    machine.access(0, GuestVirtual(address), .write, .supervisor, byteCount: 8)
  }

  /// Says of every page what of it may be written; `round` tells one time from the next.
  func protect(round: UInt32 = 0) {
    let maps = (0..<UInt32(Self.pages)).map { page in
      SubpageAccess(rawValue: page % 2 == 0 ? .max : 0xFFFF | round << 16)
    }
    guard let _ = try? machine.setSubpageAccess(maps, from: GuestFrame(0)) else {
      fatalError("the pages are there")
    }
  }

  /// Writes to pages of one kind, at an offset; how many went through.
  func writes(_ count: Int, from first: UInt64, at offset: UInt64) -> UInt64 {
    var done: UInt64 = 0
    for index in 0..<UInt64(count) {
      let page = first + index % 32 * 2
      if case .translated = write(page << 12 | offset) { done &+= 1 }
    }
    return done
  }

  /// Sets the maps of 2 MiB anew and writes once, which misses and fills the tables.
  func setUps(_ count: Int) -> UInt64 {
    for round in 0..<count {
      protect(round: UInt32(truncatingIfNeeded: round) & 0xFF)
      _ = write(0x1000)
    }
    return UInt64(count)
  }
}

/// Writes that sub-pages judge, that they refuse, and the set-up of 2 MiB of maps, each beside
/// ordinary writes of the same machine.
func subpageCases() -> [(String, () -> Case)] {
  func one(
    _ key: String, _ name: String, round: Int, _ ours: @escaping (SubpageWriter, Int) -> UInt64
  ) -> (String, () -> Case) {
    (
      key,
      {
        let writer = SubpageWriter()
        return Case(
          name: name, unit: "write", bound: 0,
          ours: { count in counted { ours(writer, count) } },
          baseline: { count in counted { writer.writes(count, from: 0, at: 8) } }, round: round)
      }
    )
  }
  return [
    one("spp-write", "write judged by sub-pages; beside: ordinary", round: 200_000) {
      $0.writes($1, from: 1, at: 8)
    },
    one("spp-refusal", "write refused by sub-pages; beside: ordinary", round: 50_000) {
      $0.writes($1, from: 1, at: 4088)
    },
    one("spp-maps", "2 MiB of maps and a miss; beside: ordinary", round: 500) { $0.setUps($1) },
  ]
}
