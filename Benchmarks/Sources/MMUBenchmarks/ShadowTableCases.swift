import CBaselines
import MachineEvents
import PageTables
import PagingUnits
import ShadowMMU

/// A full page table of the guest's that goes out of sync and is brought up to date again, after
/// some of its entries changed.
final class Synchronizer {
  private let guest = ShadowGuest(data: 512, tables: 64)
  private let changed: UInt64
  private let table: UInt64
  /// Where the guest reaches its page table, to write to it.
  private static let alias: UInt64 = 1 << 39
  private var isRestricted = false

  /// * `changed`: how many entries change before each synchronization, 0…512.
  init(changed: UInt64) {
    self.changed = changed
    table = guest.map(0, to: 0)
    for page in 1..<512 as Range<UInt64> { guest.map(page << 12, to: page) }
    guest.map(Self.alias, to: table)
    guest.enter()
    for page in 0..<512 as Range<UInt64> { _ = guest.fault(page << 12) }
    _ = guest.fault(Self.alias)
  }

  /// Takes the right to write from entries, or gives it back, through the table out of sync.
  private func edit() {
    isRestricted.toggle()
    for page in 0..<changed {
      guest.set(page << 12 | (isRestricted ? 0x65 : 0x67), at: table << 12 | page << 3)
    }
  }

  func synchronize(_ count: Int) -> UInt64 {
    for _ in 0..<count {
      edit()
      let before = guest.machine.statistic(.mmu_unsync)
      counted {
        guest.machine.shadow.syncCurrent(
          &guest.state, guest.machine.tables, guest.machine.slots, guest.machine.process)
        return 0
      }
      precondition(
        before == 1 && guest.machine.statistic(.mmu_unsync) == 0, "one table is synchronized")
      _ = guest.fault(Self.alias, [.write, .present])
    }
    return UInt64(count)
  }

  func baseline(_ count: Int) -> UInt64 {
    var world = guest.world
    let leaves = baseline_shadow_place(&world, 0)
    let alias = baseline_shadow_place(&world, Self.alias)
    for page in 0..<512 {
      world.translations[page] = guest.word(at: table << 12 | UInt64(page) << 3)
    }
    let wasRestricted = isRestricted
    var sum: UInt64 = 0
    for _ in 0..<count {
      edit()
      sum &+= counted { baseline_shadow_sync(&world, table << 12, leaves, alias) }
    }
    if isRestricted != wasRestricted { edit() }
    precondition(sum == UInt64(count) * changed, "every change is found")
    return sum
  }
}

/// Stores of the guest's to its page directories, which the hypervisor performs: each drops an
/// entry, and the third to one directory drops the directory's shadow.
final class TableWriter {
  static let directories: UInt64 = 256
  private let guest = ShadowGuest(data: 2 * directories, tables: 5 * directories)
  private var tables: [UInt64] = []
  /// Whether the stores are those that are one too many.
  private let floods: Bool

  init(floods: Bool) {
    self.floods = floods
    for directory in 0..<Self.directories {
      guest.map(Self.linear(directory, 0), to: directory * 2)
      guest.map(Self.linear(directory, 1), to: directory * 2 + 1)
      let upper = guest.word(at: guest.registers.cr3 | directory << 3) & ~0xFFF
      tables.append(guest.word(at: upper) & ~0xFFF)
    }
    prepare()
  }

  private static func linear(_ directory: UInt64, _ entry: UInt64) -> UInt64 {
    directory << 39 | entry << 21
  }

  private func prepare() {
    guest.startAgain()
    for directory in 0..<Self.directories {
      for entry in 0..<2 as Range<UInt64> { _ = guest.fault(Self.linear(directory, entry)) }
    }
    guard floods else { return }
    // Two stores to the first entry, one below the limit.
    for index in 0..<2 * Int(Self.directories) { write(index, entry: 0) }
  }

  private func write(_ index: Int, entry: UInt64) {
    let directory = index &* 199 & Int(Self.directories - 1)
    let address = tables[directory] | entry << 3
    let word = guest.machine.tables.memory.entry(at: guest.place(address))
    guest.set(word, at: address)
    guest.machine.shadow.wrote(
      GuestPhysical(address), count: 8, guest.state, guest.machine.tables, guest.machine.slots,
      guest.machine.process)
  }

  func stores(_ count: Int) -> UInt64 {
    let batch = Int(Self.directories) * (floods ? 1 : 2)
    for start in stride(from: 0, to: count, by: batch) {
      let end = min(count, start + batch)
      let before = guest.machine.statistic(.mmu_flooded)
      counted {
        for index in start..<end {
          let isSecond = floods || (index - start) / Int(Self.directories) == 1
          write(index, entry: isSecond ? 1 : 0)
        }
        return 0
      }
      let floodCount = guest.machine.statistic(.mmu_flooded) - before
      precondition(floodCount == (floods ? Int64(end - start) : 0), "the third store is a flood")
      prepare()
    }
    return UInt64(count)
  }

  func baseline(_ count: Int) -> UInt64 {
    var world = guest.world
    return counted {
      var sum: UInt64 = 0
      for index in 0..<count {
        let directory = (index &+ Int(sum & 0x800)) &* 199 & Int(Self.directories - 1)
        let entry = UInt64(index / Int(Self.directories) & 1)
        let linear = Self.linear(UInt64(directory), entry)
        let table = tables[directory] | entry << 3
        sum =
          floods
          ? baseline_table_flood(&world, table, linear)
          : baseline_table_write(&world, table, linear)
      }
      return sum
    }
  }
}

/// Loads of CR3, by a guest that goes round among some roots.
final class RootSwitcher {
  private let guest = ShadowGuest(data: 16, tables: 64)
  private let roots: [UInt64]
  private var next = 0

  /// * `count`: how many roots; up to four of them are kept.
  init(count: Int) {
    let first = guest.registers.cr3 >> 12
    let others = (1..<count).map { [guest] _ in guest.makeTable() }
    roots = [first] + others
    for root in roots {
      guest.map(0, to: 1, below: root)
      guest.registers.cr3 = root << 12
      guest.enter()
      _ = guest.fault(0)
    }
  }

  func switches(_ count: Int) -> UInt64 {
    counted {
      var loads: UInt64 = 0
      for _ in 0..<count {
        guest.registers.cr3 = roots[next] << 12
        next = next + 1 == roots.count ? 0 : next + 1
        if guest.enter() {
          loads &+= 1
        } else {
          guest.machine.shadow.syncCurrent(
            &guest.state, guest.machine.tables, guest.machine.slots, guest.machine.process)
        }
      }
      precondition(roots.count <= 4 || loads == UInt64(count), "a fifth root is not kept")
      return loads
    }
  }

  func baseline(_ count: Int) -> UInt64 {
    var world = guest.world
    var kept = baseline_roots()
    return counted {
      var sum: UInt64 = 0
      for _ in 0..<count {
        let root = roots[next] << 12
        next = next + 1 == roots.count ? 0 : next + 1
        sum &+= baseline_switch(&world, &kept, root)
      }
      return sum
    }
  }
}
