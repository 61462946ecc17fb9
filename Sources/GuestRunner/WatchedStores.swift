import HardwareModel
import HostMemory
import PageTables
import PagingUnits

/// Pages of which one instruction may write bytes, as they were before it.
///
/// The engine does not say what it stores where; what changed is what was stored. An instruction
/// that stores what was there already changes no table.
struct WatchedStores {
  private struct Page {
    /// The linear page, as the engine names it.
    var linear: UInt64
    var host: HostFrame
    var guest: GuestFrame
    var words: [UInt64]
  }

  private var pages: [Page] = []

  /// Remembers a page; asked again before the instruction ran, it stands as it is.
  mutating func add(
    _ address: GuestVirtual, _ translation: Translation, in memory: PhysicalMemory
  ) {
    let linear = address.raw & ~0xFFF
    let host = translation.hostPhysical.frame
    pages.removeAll { $0.linear == linear }
    pages.append(
      Page(
        linear: linear, host: host, guest: translation.guestPhysical.frame,
        words: (0..<512).map { memory.entry(at: host.address + UInt64($0) * 8) }))
  }

  /// The entries of a page that are not as they were, which is forgotten.
  mutating func take(
    _ page: GuestVirtual, _ frame: HostFrame, entries width: Int, in memory: PhysicalMemory
  ) -> [(GuestPhysical, Int)] {
    guard
      let index = pages.firstIndex(where: { $0.linear == page.raw & ~0xFFF && $0.host == frame })
    else { return [] }
    let before = pages.remove(at: index)
    var changed: [(GuestPhysical, Int)] = []
    for index in 0..<512 {
      let offset = UInt64(index) * 8
      let difference = memory.entry(at: frame.address + offset) ^ before.words[index]
      if difference == 0 { continue }
      if width == 8 {
        changed.append((before.guest.address + offset, 8))
        continue
      }
      if UInt32(truncatingIfNeeded: difference) != 0 {
        changed.append((before.guest.address + offset, 4))
      }
      if difference >> 32 != 0 { changed.append((before.guest.address + offset + 4, 4)) }
    }
    return changed
  }
}
