import HostMemory
import PagingUnits
import VirtualMachine

/// The machine's own tables, read as the bytes that a processor would walk (SDM volume 3C, "The
/// Extended Page Table Mechanism (EPT)"; APM volume 2, "Nested Paging").
struct SecondTables {
  /// What the tables give for a guest-physical byte.
  struct Leaf: Hashable {
    /// The host-physical byte.
    var host: UInt64
    var depth: Int
    var isWritable: Bool
    var isExecutable: Bool
    /// Whether a write leaves no further mark.
    var isDirty: Bool
  }

  let memory: PhysicalMemory
  let root: UInt64
  /// The bit of an entry that is none of an address; 0 where every one is.
  let encryption: UInt64
  let configuration: MachineConfiguration

  /// The tables under a processor's root; `nil` while it has none.
  init?(of number: Int, in machine: borrowing VirtualMachine) {
    guard let root = machine.rootFrame(of: number) else { return nil }
    self.root = root.number << 12
    memory = machine.process.host.memory
    configuration = machine.configuration
    encryption = configuration.encryptionBit.map { 1 << UInt64($0) } ?? 0
  }

  /// What the tables give for a byte; `nil` where a processor would exit.
  func leaf(_ physical: UInt64) -> Leaf? {
    let isEPT = configuration.vendor == .intel
    var table = root
    var depth = Int(configuration.rootLevel.depth)
    if physical >> UInt64(12 + 9 * depth) != 0 { return nil }
    var (isReadable, isWritable, isExecutable) = (true, true, true)
    while true {
      let shift = UInt64(12 + 9 * (depth - 1))
      let entry = memory.entryOrOnes(at: HostPhysical(table + (physical >> shift & 511) * 8))
      if isEPT {
        isReadable = isReadable && entry & 1 != 0
        isExecutable = isExecutable && entry & 4 != 0
        // Nothing at all is absent; writable without readable is the mark of a device.
        if entry & 7 == 0 || entry & 3 == 2 { return nil }
      } else {
        isReadable = isReadable && entry & 4 != 0
        isExecutable = isExecutable && entry >> 63 == 0
        if entry & 1 == 0 { return nil }
      }
      isWritable = isWritable && entry & 2 != 0
      let target = entry & 0x000F_FFFF_FFFF_F000 & ~encryption
      if target >> UInt64(configuration.physicalBits) != 0 { return nil }
      if depth == 1 || entry >> 7 & 1 == 1 {
        guard isReadable else { return nil }
        let inPage: UInt64 = 1 << shift - 1
        let hasMarks = !isEPT || configuration.accessedDirty == .present
        return Leaf(
          host: target & ~inPage | physical & inPage, depth: depth, isWritable: isWritable,
          isExecutable: isExecutable, isDirty: !hasMarks || entry >> (isEPT ? 9 : 6) & 1 == 1)
      }
      table = target
      depth -= 1
    }
  }
}
