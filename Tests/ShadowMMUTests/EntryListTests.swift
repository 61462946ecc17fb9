import PageTables
import PagingUnits
import Testing

@Suite("Entry lists")
struct EntryListTests {
  @Test("a list holds exactly what was added and not removed, in random orders")
  func model() {
    let lists = EntryLists(tables: 8)
    var chance = Chance(3)
    var list = EntryList()
    var meant: [UInt64: Int] = [:]
    var held: [UInt64] = []
    for step in 0..<20_000 {
      // It grows for a while and shrinks for a while, past several descriptors and to nothing.
      let grows = step / 700 % 2 == 0 ? !chance.oneIn(4) : chance.oneIn(4)
      if grows || held.isEmpty {
        let address = UInt64(1 + chance.below(4096)) * 8
        held.append(address)
        meant[address, default: 0] += 1
        #expect(lists.add(HostPhysical(address), to: &list) == held.count)
      } else {
        let address = held.remove(at: chance.below(held.count))
        meant[address, default: 0] -= 1
        lists.remove(HostPhysical(address), from: &list)
      }
      guard step % 16 == 0 else { continue }
      var found: [UInt64: Int] = [:]
      var walk = lists.walk(list)
      while let address = lists.next(&walk) { found[address.raw, default: 0] += 1 }
      #expect(found == meant.filter { $0.value > 0 })
      #expect(lists.count(list) == held.count && list.isEmpty == held.isEmpty)
      #expect(lists.descriptorCount <= held.count / 14 + 1)
    }
    for address in held { lists.remove(HostPhysical(address), from: &list) }
    #expect(list.isEmpty && lists.descriptorCount == 0)
  }

  @Test("an entry that is not on a list cannot be taken out")
  func missing() async {
    await #expect(processExitsWith: .failure) {
      let lists = EntryLists(tables: 8)
      var list = EntryList()
      for index in 1...20 { _ = lists.add(HostPhysical(UInt64(index) * 8), to: &list) }
      lists.remove(HostPhysical(21 * 8), from: &list)
    }
  }

  @Test("the entries of a table need no more descriptors than are meant for it")
  func bound() async {
    // The most that they can need: as many lists of two as 3 tables have entries for.
    let lists = EntryLists(tables: 3)
    var pairs = [EntryList](repeating: EntryList(), count: 3 * 256)
    for index in pairs.indices {
      for entry in 1...2 {
        _ = lists.add(HostPhysical(UInt64(index * 2 + entry) * 8), to: &pairs[index])
      }
    }
    #expect(lists.descriptorCount == 3 * 256)
    for index in pairs.indices {
      lists.remove(HostPhysical(UInt64(index * 2 + 1) * 8), from: &pairs[index])
    }
    #expect(lists.descriptorCount == 0)
    await #expect(processExitsWith: .failure) {
      let lists = EntryLists(tables: 1)
      var pairs = [EntryList](repeating: EntryList(), count: 257)
      for index in pairs.indices {
        for entry in 1...2 {
          _ = lists.add(HostPhysical(UInt64(index * 2 + entry) * 8), to: &pairs[index])
        }
      }
    }
  }
}
