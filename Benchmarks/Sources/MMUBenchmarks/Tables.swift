import HostMemory
import PagingUnits

/// Page tables built by hand, for walks that nobody else built anything for.
struct Tables {
  let memory: PhysicalMemory
  /// The next frame to use.
  private var free: UInt64
  let root: UInt64
  private let present: UInt64
  private let leaf: UInt64

  /// Maps `span` bytes from address 0 on, 4 KiB by 4 KiB, onto themselves.
  ///
  /// `present` is ORed into table entries, `leaf` into leaves; tables lie from frame `start` on.
  init(in memory: PhysicalMemory, from start: UInt64, span: UInt64, present: UInt64, leaf: UInt64) {
    self.memory = memory
    self.present = present
    self.leaf = leaf
    root = start << 12
    free = start + 1
    for page in stride(from: UInt64(0), to: span, by: 4096) { map(page) }
  }

  /// The frame behind the tables.
  var end: UInt64 { free }

  private mutating func map(_ page: UInt64) {
    var table = root
    for shift in [UInt64(39), 30, 21] {
      let place = HostPhysical(table + (page >> shift & 511) << 3)
      var entry = memory.entry(at: place)
      if entry == 0 {
        entry = free << 12 | present
        free += 1
        memory.setEntry(entry, at: place)
      }
      table = entry & 0x000F_FFFF_FFFF_F000
    }
    memory.setEntry(page | leaf, at: HostPhysical(table + (page >> 12 & 511) << 3))
  }
}
