@testable import HostMemory
import PagingUnits
import Testing

/// What the tables of a process say, counted anew.
struct HostAudit {
  var counts: [UInt64: UInt32] = [:]
  var writable: Set<UInt64> = []

  init(_ space: borrowing HostAddressSpace) {
    add(space.root, .level4, space.host)
    if let copyRoot = unsafe space.state.pointee.copyRoot { add(copyRoot, .level4, space.host) }
    for index in 0..<(unsafe space.state.pointee.fileCount) {
      add(space.openFile(HostFileID(index: UInt32(index))).root, .level4, space.host)
    }
  }

  private mutating func add(_ table: HostFrame, _ level: Level, _ host: borrowing HostMemory) {
    for index in 0..<512 as Range<UInt64> {
      let raw = host.memory.entry(at: table.address + index * 8)
      if raw == 0 { continue }
      let entry = HostEntry(raw)
      if entry.isTable(at: level) || entry.isSetAside {
        if let below = level.below { add(entry.frame, below, host) }
      } else if entry.isSwapped || entry.holdsPage(at: level) && entry.isCounted {
        counts[entry.frame.number, default: 0] += 1
        if entry.isWritable { writable.insert(entry.frame.number) }
      }
    }
  }

  /// What is wrong in a process that has its host to itself; empty when nothing is.
  static func faults(_ space: borrowing HostAddressSpace) -> [String] {
    let audit = HostAudit(space)
    var faults: [String] = []
    var frames: [FrameKind: UInt64] = [:]
    for (number, count) in audit.counts {
      let frame = HostFrame(number)
      let recorded = space.host.records.mappings(of: frame)
      if recorded != count { faults.append("\(frame): \(count) mappings, \(recorded) recorded") }
      let kind = space.host.records.kind(of: frame)
      frames[kind, default: 0] += space.host.records.order(of: frame).frameCount
      if kind == .anonymous, count > 1, audit.writable.contains(number) {
        faults.append("\(frame) is shared and writable")
      }
    }
    for kind in [FrameKind.anonymous, .file, .swapped] {
      let used = space.host.frames(kind)
      if frames[kind, default: 0] != used {
        faults.append("\(kind): \(frames[kind, default: 0]) frames mapped, \(used) in use")
      }
    }
    for kind in frames.keys where ![.anonymous, .file, .swapped].contains(kind) {
      faults.append("a mapped frame is \(kind)")
    }
    return faults
  }
}
