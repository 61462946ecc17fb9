import HostMemory
import PageTables
import PagingUnits
import Testing

@Suite("The bits of sub-page protection") struct SubpageEncodingTests {
  /// The facts' table of maps and the vectors that they mean.
  private static let vectors: [(map: UInt32, vector: UInt64)] = [
    (0x0000_0000, 0x0000_0000_0000_0000), (0x0000_0001, 0x0000_0000_0000_0001),
    (0x0000_0002, 0x0000_0000_0000_0004), (0x0000_000F, 0x0000_0000_0000_0055),
    (0x0001_0000, 0x0000_0001_0000_0000), (0x0000_FFFF, 0x0000_0000_5555_5555),
    (0x5555_5555, 0x1111_1111_1111_1111), (0xAAAA_AAAA, 0x4444_4444_4444_4444),
    (0x7FFF_FFFF, 0x1555_5555_5555_5555), (0x8000_0000, 0x4000_0000_0000_0000),
    (0xFFFF_FFFE, 0x5555_5555_5555_5554), (0xDEAD_BEEF, 0x5154_4451_4554_5455),
    (0xFFFF_FFFF, 0x5555_5555_5555_5555),
  ]

  @Test("a map means its vector, and the vector the map", arguments: vectors)
  func spread(map: UInt32, vector: UInt64) {
    let entry = SubpageEntry(SubpageAccess(rawValue: map))
    #expect(entry.raw == vector)
    #expect(entry.access.rawValue == map)
  }

  @Test("no map has an odd bit, and each comes back")
  func roundTrip() {
    var word: UInt64 = 0x9E37_79B9_7F4A_7C15
    for _ in 0..<100_000 {
      word = word &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      let access = SubpageAccess(rawValue: UInt32(truncatingIfNeeded: word >> 32))
      let entry = SubpageEntry(access)
      guard entry.raw & 0xAAAA_AAAA_AAAA_AAAA == 0, entry.access == access else {
        Issue.record("\(access) became \(entry)")
        return
      }
    }
  }

  @Test("an entry that is set aside keeps its table and leads nowhere")
  func invalidated() {
    let entry = SubpageEntry(table: HostFrame(0x12345))
    #expect(entry.raw == 0x1234_5001)
    #expect(entry.isValid && entry.hasTable)
    #expect(!entry.invalidated.isValid && entry.invalidated.hasTable)
    #expect(entry.invalidated.frame == HostFrame(0x12345))
    #expect(!SubpageEntry.empty.hasTable)
  }

  // K30
  @Test("the role of the tables shares no bit with passthrough, and none with a mode")
  func roles() {
    let role = ShadowPageRole.subpageRoot(of: .normal)
    #expect(role.isSubpageTable && role.isDirect && !role.isPassthrough)
    #expect(role.level == .level4)
    #expect(role.word == 1 << 21 | 1 << 7 | 4)
    var passthrough = ShadowPageRole.shadow(of: .normal)
    passthrough.isPassthrough = true
    #expect(!passthrough.isSubpageTable)
    #expect(role.child().isSubpageTable && role.child().level == .page1G)
    #expect(ShadowPageRole.subpageRoot(of: .systemManagement) != role)
  }

  private static let encodings: [EntryEncoding] = [
    .ept(accessedDirty: .present, executeOnly: .present, physicalBits: 46),
    .ept(accessedDirty: .absent, executeOnly: .present, physicalBits: 46),
  ]

  private static func leaf(_ encoding: EntryEncoding, host: LeafRequest.HostRight) -> SPTE {
    encoding.leaf(
      LeafRequest(
        frame: HostFrame(0x77), level: .page4K, rights: .all, host: host, cause: .access,
        accessedDirty: encoding.hasAccessedDirty ? .enabled : .disabled, backing: .memory),
      replacing: .nonpresent)
  }

  @Test("arming takes the right to write from every repair, and disarming gives it back")
  func arming() {
    for encoding in Self.encodings {
      let plain = Self.leaf(encoding, host: .writable)
      let armed = encoding.arming(plain)
      #expect(encoding.isArmed(armed) && !armed.isWritable && !encoding.isMMUWritable(armed))
      #expect(encoding.isHostWritable(armed))
      #expect(encoding.frame(of: armed) == encoding.frame(of: plain))
      #expect(encoding.owesFlush(from: plain, to: armed))
      let open = encoding.disarming(armed)
      #expect(!encoding.isArmed(open) && encoding.isMMUWritable(open))
      #expect(encoding.withWrite(open).isWritable)
      #expect(encoding.owesFlush(from: armed, to: encoding.writeProtected(open)))
      #expect(!encoding.owesFlush(from: armed, to: encoding.withWrite(open)))
    }
  }

  @Test("a page that the host may not write is never armed")
  func readOnlyHost() {
    for encoding in Self.encodings {
      let leaf = Self.leaf(encoding, host: .readOnly)
      #expect(encoding.arming(leaf) == leaf)
    }
  }

  @Test("an armed leaf is dirty when a processor may have written to it")
  func dirty() {
    let marked = Self.encodings[0].arming(Self.leaf(Self.encodings[0], host: .writable))
    #expect(!Self.encodings[0].isDirty(marked))
    #expect(Self.encodings[0].isDirty(SPTE(raw: marked.raw | 1 << 9)))
    // The processor may set the bit although the leaf is not writable.
    #expect(Self.encodings[0].hasVolatileBits(marked))
    let unmarked = Self.encodings[1].arming(Self.leaf(Self.encodings[1], host: .writable))
    #expect(Self.encodings[1].isDirty(unmarked))
  }

  // K16, K17
  @Test("dirty logging sets the bit aside, and the next write puts it back")
  func logging() {
    for encoding in Self.encodings {
      let armed = encoding.arming(Self.leaf(encoding, host: .writable))
      let logged = encoding.writeLogged(armed)
      #expect(encoding.isParked(logged) && !encoding.isArmed(logged) && !logged.isWritable)
      #expect(logged.raw >> 55 & 1 == 1 && logged.raw >> 61 & 1 == 0)
      #expect(encoding.owesFlush(from: armed, to: logged))
      #expect(encoding.hasVolatileBits(logged))
      #expect(encoding.unparking(logged) == armed)
    }
  }

  // K18
  @Test("access tracking sets the bit aside with the rights, and brings both back")
  func tracking() {
    let encoding = Self.encodings[1]
    let armed = encoding.arming(Self.leaf(encoding, host: .writable))
    let tracked = encoding.withoutAccess(armed)
    #expect(encoding.isAccessTracked(tracked) && encoding.isParked(tracked))
    #expect(tracked.raw & 0b111 == 0)
    #expect(encoding.unparking(encoding.restoringRights(tracked)) == armed)
    // A leaf that waits already is parked when its page is protected.
    let waiting = encoding.withoutAccess(Self.leaf(encoding, host: .writable))
    #expect(encoding.isParked(encoding.arming(waiting)))
    #expect(encoding.unparking(encoding.restoringRights(encoding.arming(waiting))) == armed)
  }
}

@Suite("Maps of sub-pages") struct SubpageMapTests {
  @Test("a slot without a map is open, and one that went leaves nothing behind")
  func life() {
    let maps = SubpageMaps()
    let row = MapRow(number: 7, base: GuestFrame(0x100))
    #expect(maps[row, GuestFrame(0x105)] == .all)
    var has = maps.hasMap(row)
    #expect(!has)
    maps.make(row, frames: 16)
    maps[row, GuestFrame(0x105)] = SubpageAccess(rawValue: 3)
    maps[row, GuestFrame(0x106)] = .none
    let two = maps.protectedCount(row)
    #expect(two == 2)
    maps.make(row, frames: 16)
    #expect(maps[row, GuestFrame(0x105)] == SubpageAccess(rawValue: 3))
    maps[row, GuestFrame(0x105)] = .all
    let one = maps.protectedCount(row)
    #expect(one == 1)
    #expect(maps.mapCount == 1)
    maps.free(row)
    #expect(maps.mapCount == 0)
    #expect(maps[row, GuestFrame(0x106)] == .all)
    maps.withhold(row)
    has = maps.isWithheld(row)
    #expect(has)
    maps.free(row)
    has = maps.isWithheld(row)
    #expect(!has)
  }

  @Test("a map knows its slot's frames and no others")
  func outside() async {
    await #expect(processExitsWith: .failure) {
      let maps = SubpageMaps()
      let row = MapRow(number: 0, base: GuestFrame(0x100))
      maps.make(row, frames: 16)
      maps[row, GuestFrame(0x110)] = .none
    }
  }
}
